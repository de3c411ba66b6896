"""What one worker shows the others of its host, and what it sees of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from time import time

from pgdbpool.workers.content import Figures
from pgdbpool.workers.folder import TEMPORARY, Folder, Unusable
from pgdbpool.workers.own import Own
from pgdbpool.workers.records import LOCK, WATCHED, Retired, can_be_counted, fold, living, survey
from pgdbpool.workers.rendezvous import Rendezvous

log = logging.getLogger("pgdbpool.workers")

_RARELY = 5.0  # seconds between two writes
_OFTEN = 0.5  # … while somebody looks
_LOOKING = 5.0  # seconds for which somebody who has looked goes on looking
_TO_SEE = 1.0  # seconds after which it is seen that somebody looks
_AGAIN = 30.0  # seconds after a failure, or where there is nothing to do
_TRIES = 5  # where somebody removes the folder
_PATIENCE = 0.2  # seconds for which one that leaves waits for the lock; else the next one folds what it leaves


class Exchange:
    """The figures of all workers that have the same ``key``: a dict each, of which nothing is known here but its age.

    ``figures()`` makes this worker's; ``retired(several)`` makes one that keeps their counters and nothing else.
    ``alone`` says why this worker shows only itself, in plain words, or is None; ``is_watched``: somebody looks at the
    figures of one of the workers.

    One thread at a time may call ``tick``, any thread all else, also meanwhile: what they have in common is on the disk,
    where each step is atomic. Nothing here raises, and nothing waits for another process, except ``close``, for a moment.
    """

    def __init__(self, stats_dir: str | None, key: str, figures: Callable[[], Figures], retired: Retired) -> None:
        self.alone = "stats_dir is None: the workers keep their figures to themselves" if stats_dir is None else None
        self.is_watched = False
        self._rendezvous = None if stats_dir is None else Rendezvous(stats_dir, key)
        self._figures = figures
        self._retired = retired
        self._own = Own()
        self._closed = False
        self._counted = False  # what it leaves has been taken into the past

    def tick(self, now: float, due: bool = False) -> float:
        """Write if it is time to, or ``due``; look after the dead. The seconds until the next one; ``now`` is Unix time."""
        if self._rendezvous is None or self._closed:
            return _AGAIN
        pause = self._attempt(self._rendezvous, now, due)
        self._leave_if_closed(self._rendezvous)
        return pause

    def _attempt(self, rendezvous: Rendezvous, now: float, due: bool) -> float:
        for _ in range(_TRIES):
            try:
                with rendezvous.entered(make=True) as folder:
                    pause = self._exchange(folder, now, due)
                self.alone = None
                return pause
            except Exception as error:
                problem = error
                if self._closed or not isinstance(error, FileNotFoundError):  # that somebody removed the folder
                    break
        self.is_watched = False
        self._failed(problem)
        return _AGAIN

    def _exchange(self, folder: Folder, now: float, due: bool) -> float:
        self.is_watched = watched = folder.age(WATCHED, now) <= _LOOKING
        if due or self._own.is_due(folder, now, _OFTEN if watched else _RARELY):
            figures = self._figures()
            self._own.write(folder, figures)
        if folder.age(LOCK, now) >= _RARELY:
            with folder.locked(LOCK) as ours:
                if ours:
                    folder.touch(LOCK, now)
                    fold(folder, self._retired)
        return _OFTEN if watched else _TO_SEE

    def others(self) -> list[Figures]:
        """The figures of the other workers that live, and a dict with the counters of those that do not."""
        return self._seen(but=self._own.name)

    def everyone(self) -> list[Figures]:
        """The same, and this worker's own as the others see them: so no counter goes down, whoever is asked next."""
        return self._seen()

    def _seen(self, but: str = "") -> list[Figures]:
        if self._rendezvous is None or self._closed or self.alone is not None:
            return []
        try:
            with self._rendezvous.entered() as folder:
                seen = survey(folder)
            dead = [*seen.past.figures, *(each for each in seen.dead().values() if can_be_counted(each, self._retired))]
            return [*seen.living(but), *([self._retired(dead)] if dead else [])]
        except FileNotFoundError:  # before the first tick, or the next one mends it
            return []
        except Exception as error:
            self._failed(error)
            return []

    def crowd(self) -> int:
        """How many workers there are, this one too."""
        if self._rendezvous is not None and self.alone is None:
            with suppress(OSError), self._rendezvous.entered() as folder:
                return max(1, living(folder))
        return 1

    def watched(self) -> None:
        """Somebody looks: from now on, and for some seconds, all workers write often."""
        if self._rendezvous is not None:
            self.is_watched = True
            with suppress(Exception), self._rendezvous.entered() as folder:
                folder.touch(WATCHED, time())

    def close(self) -> None:
        """Leave the counters to the past; the last one removes the folder."""
        if self._rendezvous is not None and not self._closed:
            self._closed = True
            self._depart(self._rendezvous)

    def _leave_if_closed(self, rendezvous: Rendezvous) -> None:
        """Where it was closed meanwhile, what was written may be newer than its end."""
        if self._closed:
            self._depart(rendezvous, late=True)

    def _depart(self, rendezvous: Rendezvous, late: bool = False) -> None:
        with suppress(Exception), rendezvous.entered() as folder:
            if not late:
                with suppress(Exception):  # else what was written before will do
                    self._own.write(folder, self._figures())
            elif self._counted:
                folder.remove(self._own.name)
            self._own.leave()
            with folder.locked(LOCK, _PATIENCE) as ours:
                if ours:
                    fold(folder, self._retired)
                    self._counted = True
                    rendezvous.leave(folder)
        self._own.leave()

    def after_fork_in_child(self) -> None:
        """This process is a worker of its own. What it has of its parent's files must not keep them locked."""
        parents, self._own = self._own, Own()
        parents.leave()
        if self._rendezvous is not None and self._rendezvous.path:
            self.alone = None
            with suppress(OSError), Folder(self._rendezvous.path) as folder:
                # In this order: one that is renamed meanwhile is found by its new name.
                begun = [name for name in folder.names() if name.endswith(TEMPORARY)]
                folder.disown([*begun, parents.name, LOCK])

    def _failed(self, error: Exception) -> None:
        """Keep the reason; log it where it is news."""
        where = self._rendezvous.path if self._rendezvous is not None else ""
        if isinstance(error, OSError) and not isinstance(error, Unusable):
            problem = f"cannot use {where or 'a temporary folder'}: {error.strerror or error}"
        else:
            problem = str(error) if isinstance(error, Unusable) else f"{type(error).__name__}: {error}"
        if self.alone is None:
            log.warning("the workers of this host cannot exchange their figures: %s", problem)
        self.alone = problem
