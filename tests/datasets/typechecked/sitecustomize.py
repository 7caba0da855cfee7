"""Python imports this first where the folder is on PYTHONPATH: shapes and types are checked at every call."""

from jaxtyping import install_import_hook

install_import_hook(["motion_encoder", "datasets"], "beartype.beartype")
