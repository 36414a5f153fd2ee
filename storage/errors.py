"""What can go wrong with the store: the world's fault, never the sender's."""


class StoreError(Exception):
    """A storage operation failed and changed nothing. Trying again may help."""


class StoreFull(StoreError):
    """The map or the disk is full. Deliveries are refused until there is room again."""


class StoreFailed(StoreError):
    """The disk did not confirm a write (an I/O error from fsync). Nothing may be acknowledged until a restart."""


class StoreInterrupted(StoreError):
    """A signal interrupted a write, as file systems over a network allow. Trying again at once helps."""


class StoreLocked(StoreError):
    """Another process writes to this store."""


class ProcessNumberTaken(StoreError):
    """A process of another container that reads the store has the same number as this one. Another process can read."""


class StoreMissing(StoreError):
    """There is no store at this path."""


class StoreVersion(StoreError):
    """The store was written in a format that this version does not read."""


class StoreOld(StoreVersion):
    """The store was written in a format that can be converted. The message names the command."""


class StoreDamaged(StoreError):
    """A record does not say what was written. The message names the database and the key."""


class IllegalStatusChange(Exception):
    """A status that cannot follow the one an event has, or an event that does not exist: our bug, and loud."""
