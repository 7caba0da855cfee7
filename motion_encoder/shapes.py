"""Shape annotations of tensors, which need no extra package to run a model.

Letters, in the whole project: B clips, T frames, J joints, C channels, P people, K keypoints of another skeleton. Tests
check the annotations at every call (jaxtyping and beartype). Where jaxtyping is not installed, for example on a machine
that only runs models, they have no effect, so the library only needs torch, numpy and safetensors.
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
