"""What travels between client, service and worker: the models of the HTTP contract.

Requests refuse unknown fields, so that a misspelt option is an error and not a silent default.
Answers accept them, so that an older client can read a newer service.
"""

from congrad.contract.answers.checkpoints import Checkpoint as Checkpoint
from congrad.contract.answers.checkpoints import Projection as Projection
from congrad.contract.answers.decisions import Decision as Decision
from congrad.contract.answers.decisions import DirectionRef as DirectionRef
from congrad.contract.answers.decisions import FilterResult as FilterResult
from congrad.contract.answers.decisions import LanguageSummary as LanguageSummary
from congrad.contract.answers.decisions import Reason as Reason
from congrad.contract.answers.decisions import Summary as Summary
from congrad.contract.answers.decisions import Timing as Timing
from congrad.contract.answers.directions import Direction as Direction
from congrad.contract.answers.directions import DirectionLanguage as DirectionLanguage
from congrad.contract.answers.directions import DirectionSummary as DirectionSummary
from congrad.contract.answers.jobs import Job as Job
from congrad.contract.answers.jobs import JobStatus as JobStatus
from congrad.contract.answers.jobs import JobSummary as JobSummary
from congrad.contract.answers.jobs import Progress as Progress
from congrad.contract.answers.problem import NO_LONGER_KEPT as NO_LONGER_KEPT
from congrad.contract.answers.problem import Problem as Problem
from congrad.contract.answers.problem import ProblemError as ProblemError
from congrad.contract.answers.views import CheckpointQueue as CheckpointQueue
from congrad.contract.answers.views import DirectionConflicts as DirectionConflicts
from congrad.contract.answers.views import DirectionScores as DirectionScores
from congrad.contract.answers.views import HistoryEntry as HistoryEntry
from congrad.contract.answers.views import LanguageConflicts as LanguageConflicts
from congrad.contract.answers.views import LanguageScores as LanguageScores
from congrad.contract.answers.views import LanguageStep as LanguageStep
from congrad.contract.answers.views import Memory as Memory
from congrad.contract.answers.views import Queue as Queue
from congrad.contract.answers.views import Room as Room
from congrad.contract.answers.views import Worker as Worker
from congrad.contract.prompts import missing_prompt as missing_prompt
from congrad.contract.publishing import Loading as Loading
from congrad.contract.publishing import Order as Order
from congrad.contract.publishing import Publication as Publication
from congrad.contract.publishing import PublicationStatus as PublicationStatus
from congrad.contract.publishing import PublishRequest as PublishRequest
from congrad.contract.publishing import SleepLevel as SleepLevel
from congrad.contract.publishing import SleepRequest as SleepRequest
from congrad.contract.publishing import Stage as Stage
from congrad.contract.publishing import WakeRequest as WakeRequest
from congrad.contract.requests import INFINITY as INFINITY
from congrad.contract.requests import MAX_LANGUAGES as MAX_LANGUAGES
from congrad.contract.requests import SHORTEST as SHORTEST
from congrad.contract.requests import DirectionName as DirectionName
from congrad.contract.requests import FilterRequest as FilterRequest
from congrad.contract.requests import FractionSelection as FractionSelection
from congrad.contract.requests import HalfLife as HalfLife
from congrad.contract.requests import RescoreRequest as RescoreRequest
from congrad.contract.requests import Selection as Selection
from congrad.contract.requests import ThresholdSelection as ThresholdSelection
from congrad.contract.samples import AnySample as AnySample
from congrad.contract.samples import Message as Message
from congrad.contract.samples import PromptCompletion as PromptCompletion
from congrad.contract.samples import Sample as Sample
