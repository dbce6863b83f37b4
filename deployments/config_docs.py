"""Write config/base.yaml, config/README.md and config/schema.json from the typed models."""

from __future__ import annotations

from evergreen.tasks.core.config.document import render_base, render_readme, render_schema
from evergreen.tasks.io.settings import import_root

CONFIG_DIR = import_root() / "config"
DOCUMENTS = {"base.yaml": render_base, "README.md": render_readme, "schema.json": render_schema}


def main() -> None:
    """Write the three documents."""
    for name, render in DOCUMENTS.items():
        (CONFIG_DIR / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
