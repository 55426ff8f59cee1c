"""`python -m congrad_worker`: one worker, several, or the question whether those of this container are at work."""

import sys

USAGE = """usage: python -m congrad_worker gradients             a worker that computes gradients
       python -m congrad_worker gradients WORKERS     several: a number, or `auto` for one for each GPU
       python -m congrad_worker decide                a worker that decides
       python -m congrad_worker health                is every worker of this container at work?"""


def main(arguments: list[str]) -> int:
    """Runs until a signal, or answers; the exit status: 2 where the arguments are wrong, or a package is missing."""
    try:
        return _done(arguments)
    except ModuleNotFoundError as error:
        # The base install is the client. A part of the project itself that is missing is another fault.
        absent = str(error.name).partition(".")[0]
        if absent.startswith("congrad"):
            raise
        needed = f"{absent} is not installed; a worker needs: pip install 'congrad-filter[worker]'"
        print(f"congrad worker: {needed}", file=sys.stderr)
        return 2


def _done(arguments: list[str]) -> int:
    # What is imported is what is asked for: a health check should cost next to nothing.
    match arguments:
        case ["health"]:
            from congrad_worker.processes import liveness

            return 0 if liveness.are_good() else 1
        case ["gradients", workers] if workers == "auto" or (workers.isdecimal() and int(workers) > 0):
            from congrad_worker.processes import fleet

            return fleet.run(workers)
        case ["gradients" | "decide" as role]:
            from congrad_service.queue.registry import Role

            from congrad_worker.processes import worker

            return worker.run(Role(role))
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
