"""The state changes of a job, of who works and of what is published, each one atomic: Lua that Redis runs as a whole.

They move references and small strings; arithmetic on vectors stays in NumPy, because a script blocks the server.
All times are the Redis server's, so that hosts with different clocks agree on durations. What each is given and returns
stands at the top of its file in `lua/`.
"""

from congrad_service.scripts.composing import script

ALONE = script("alone")
ASK = script("ask")
BEAT = script("beat")
COMMIT = script("commit")
COMPLETE = script("complete")
CREATE = script("create")
END = script("end")
GIVE_BACK = script("give_back")
KNOWN = script("known")
LIVE = script("live")
MARK_ASKED = script("mark_asked")
MARK_ENQUEUED = script("mark_enqueued")
NOTE = script("note")
OFFER = script("offer")
RECALL = script("recall")
RELEASE = script("release")
RESET = script("reset")
ROOM = script("room")
SETTLE = script("settle")
START_CHUNK = script("start_chunk")
START_DECISION = script("start_decision")
STORE = script("store")
SUCCEED = script("succeed")
TURN = script("turn")
UNCOUNT = script("uncount")
WRITE = script("write")
