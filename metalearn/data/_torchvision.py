"""Import torchvision also where its compiled operators do not fit the installed PyTorch."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

_SCHEMAS = (  # operators for which torchvision registers a rule at import, whether or not they exist
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # collecting a library removes its operators, so it is kept here


def import_torchvision() -> Any:
    """Return the module ``torchvision``, with its data sets, transforms and models.

    Beside a PyTorch from another source (a CPU build, say) a plain import stops at ``operator torchvision::nms does
    not exist``. Then the missing operators are declared without code: everything but detection works. A torchvision
    that imports is left alone.

    Returns:
        The module; a later ``import torchvision`` finds the same one.

    Raises:
        ImportError: If torchvision is not installed.

    Example:
        >>> from metalearn.data import import_torchvision
        >>> import_torchvision().datasets.Omniglot.__name__
        'Omniglot'
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as err:
        raise ImportError('torchvision cannot be imported: pip install "metalearn-book[chapters]"') from err
    except RuntimeError as err:
        if "operator torchvision::" not in str(err):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # halves of the failed import
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _declared.append(library)
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
            library.define(schema)  # type: ignore[no-untyped-call]
    return importlib.import_module("torchvision")
