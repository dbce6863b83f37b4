"""What a policy does after each window: nothing, a refit whatever happens, or all that runs live."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.core.errors import NotLearnable
from tasks.core.replay.clock import Tick
from tasks.core.replay.learn import refit_version
from tasks.core.replay.stages import Court, Walked, walk_stages
from tasks.core.replay.version import Throne, Version
from tasks.core.replay.watching import Watched, Watchman
from tasks.core.retraining.causes import could_judge, drift_causes
from tasks.core.retraining.decide import decide_retrain
from tasks.core.retraining.history import ENDED, RETRAINING, STARTED, claim_payload, fold_history
from tasks.core.retraining.policy import RetrainPolicy, retrain_policy
from tasks.core.retraining.words import Asked, Moment, RetrainDecision
from tasks.core.verdict import Reason, State


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a policy did after a window."""

    watched: Watched = field(default_factory=Watched)
    decision: RetrainDecision | None = None
    walked: Walked | None = None


class Never:
    """Keep the first model; it is watched, for the alarms it would raise."""

    def __init__(self, court: Court, throne: Throne) -> None:
        assert throne.champion is not None
        self.court, self.throne, self.first = court, throne, throne.champion
        self.watchman = Watchman(court=court)

    @property
    def champion(self) -> Version:
        """Who answers."""
        assert self.throne.champion is not None
        return self.throne.champion

    def act(self, tick: Tick) -> Done:
        """Watch, and leave it at that."""
        return Done(watched=self.watchman.watch(self.champion, tick))


class Every(Never):
    """Refit the first model's recipe at every window, and deploy it ungated and unwatched."""

    def act(self, tick: Tick) -> Done:
        """Refit on all labelled rows of ``retraining.window`` as of now."""
        court, throne = self.court, self.throne
        try:
            parts = court.history.parts(court.config, until=tick.until, refit=True)
            made = refit_version(self.first, parts, court.config, number=throne.made + 1, tools=court.tools)
        except NotLearnable as error:
            refused = Walked(state=State.INSUFFICIENT, throne=throne, reasons=(Reason.from_error(error),))
            return Done(walked=refused)
        self.throne = throne.numbered().crowned(made, made, at=tick.at)
        return Done(
            walked=Walked(state=State.PROMOTED, throne=self.throne, version=made.number, rows=made.rows)
        )


class Governed(Never):
    """Monitor, decide, retrain, gate, challenge, promote: as it runs live."""

    def __init__(self, court: Court, throne: Throne) -> None:
        super().__init__(court, throne)
        self.policy: RetrainPolicy = retrain_policy(court.config)

    def act(self, tick: Tick) -> Done:
        """Look at what is due, then decide, then walk the stages of a retraining that starts."""
        watched = self.watchman.watch(self.champion, tick)
        asked = self._asked(tick)
        now = Moment(at=tick.at, position=asked.labels.newest)
        ledger = self.court.ledger
        decision = decide_retrain(now, fold_history(ledger.read(RETRAINING)), asked, self.policy)
        if not decision.starts:
            return Done(watched=watched, decision=decision)
        claim = ledger.append(
            RETRAINING, STARTED, claim_payload(now, asked, decision, until=str(tick.until)), at=tick.at
        )
        walked = walk_stages(self.court, self.throne, tick, change_at=decision.change_at)
        self.throne = walked.throne
        ended = {"claim": claim.id, "state": walked.state.value, "version": walked.version}
        ledger.append(RETRAINING, ENDED, ended, at=tick.at)
        return Done(watched=watched, decision=decision, walked=walked)

    def _asked(self, tick: Tick) -> Asked:
        """Gather what asks, as `tasks.retrain.gather_causes` does."""
        config, entries, version = self.court.config, self.watchman.entries, self.champion.number
        return Asked(
            causes=drift_causes(entries, version=version, policy=self.policy, clock=config.data.clock),
            judged=could_judge(entries, version=version),
            labels=self.court.history.labels(config, until=tick.until),
            champion_since=self.throne.since,
            champion_learned_to=self.champion.learned_to,
        )
