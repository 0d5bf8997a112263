"""Puts sample apps into a model repository, with the models that they need."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from glet.config.resource import resource
from glet.config.zoo import zoo_app
from glet.errors import ConfigError
from glet.serve.export import SEED, export_model
from glet.serve.repository import APP, Repository, is_model_name


def export_app(
    sample: str, folder: Path, name: str, say: Callable[[str], None], seed: int = SEED
) -> list[Path]:
    """Writes the app `name` of a sample app under `folder`, and before it the sample models that
    it needs and that are not there. The folders it wrote, the app's last.

    Models that are there stay as they are. `say` is told what is exported. Raises ConfigError when
    there is no such sample, the app exists, or a model that is there does not fit it.
    """
    config = zoo_app(sample)
    entry = folder / name
    if not is_model_name(name):
        raise ConfigError(f"{name!r} is no name for an app; use letters, digits, '_', '-', '.'")
    if entry.exists():
        raise ConfigError(f"{entry}: exists already; remove it to export {sample} again")
    written = []
    for model in sorted({stage.model for stage in config.stage}):
        if not (folder / model).exists():
            say(f"exporting {model}, which {name} needs...")
            written.append(export_model(model, folder, seed=seed))
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        shutil.copyfile(resource("apps", f"{sample}.toml"), work / APP)
        work.chmod(0o755)
        os.replace(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    try:
        Repository(folder).app(name)
    except ConfigError:
        shutil.rmtree(entry)
        raise
    return [*written, entry]
