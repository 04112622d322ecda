"""What can end a run early; each message says what is kept and how to go on."""


class TrainingError(RuntimeError):
    """Training that can't go on, such as a loss that is not finite."""


class CheckpointError(RuntimeError):
    """A checkpoint that can't be read or written; the message names the file."""


class Interrupted(Exception):
    """The run was asked to stop and has saved itself."""


class RankError(RuntimeError):
    """A training process ended without having finished; the message says how to continue."""
