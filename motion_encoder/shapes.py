"""Shape annotations that cost a pulled model nothing.

The letters, everywhere in this project: B clips, T frames, J joints, C channels, P people, K keypoints of a foreign
skeleton. Tests check the annotations at every call (jaxtyping and beartype); where jaxtyping is not installed, as on
a machine that only runs a pulled model, they are inert, so that the library needs torch, numpy and safetensors alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:

        class _Unchecked:
            def __class_getitem__(cls, _: Any) -> Any:
                return Any

        Bool = Float = Int = _Unchecked

__all__ = ["Bool", "Float", "Int"]
