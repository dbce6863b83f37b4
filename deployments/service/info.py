"""What a service says of itself: whether it is ready, and of a model its versions, roles and signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evergreen.deployments.service.live import Live, ServedModel

if TYPE_CHECKING:
    from evergreen.deployments.service.service import Service


def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Return whether all models can answer and the log can be written, and the reasons."""
    models = {name: _standing(served) for name, served in service.models.items()}
    log = "off"
    if service.writer is not None:
        log = "unreachable" if service.writer.state().down else "writable"
    is_ready = all(one["live"] for one in models.values()) and log != "unreachable"
    return is_ready, {"ready": is_ready, "log": log, "models": models}


def model_facts(served: ServedModel) -> dict[str, Any]:
    """Return what is served of a model, what was wanted and refused, and what requests must hold."""
    live = served.live
    return {
        "model": served.name,
        "problem": served.config.problem.value,
        "description": served.config.description,
        **_standing(served),
        "aliases": served.aliases,
        "variants": _variants(live) if live else [],
        "signature": _signature(live) if live else None,
        "limits": {
            "max_rows": served.config.serving.max_rows,
            "max_body_mb": served.config.serving.max_body_mb,
        },
        "log": served.config.serving.log,
    }


def _standing(served: ServedModel) -> dict[str, Any]:
    live = served.live
    refused = [
        {"version": one.version, "wanted_as": one.role, "why": one.why, "at": one.at.isoformat()}
        for one in served.refused
    ]
    return {
        "live": live is not None,
        "version": live.champion.number if live else None,
        "waits_for": served.waits_for,
        "refused": refused,
        "from_local_copy": served.from_cache,
        "registry": served.registry,
        "registry_away_since": served.away_since.isoformat() if served.away_since else None,
    }


def _variants(live: Live) -> list[dict[str, Any]]:
    return [
        {
            "name": variant.name,
            "role": variant.role.value,
            "share": variant.share,
            "answers": variant.name in live.arms,
            "members": [
                {
                    "version": one.number,
                    "weight": weight,
                    "form": one.model.form,
                    "since": one.since.isoformat(),
                }
                for one, weight in (live.arms[variant.name].members if variant.name in live.arms else ())
            ],
        }
        for variant in live.plan.variants
    ]


def _signature(live: Live) -> dict[str, Any]:
    signature = live.signature
    return {
        "columns": [
            {"name": one.name, "kind": one.kind, "nullable": one.nullable, "only": one.only or None}
            for one in signature.columns
        ],
        "may_also_bring": list(signature.context),
        "clock": signature.clock,
    }
