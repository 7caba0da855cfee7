"""Make a model (with a pretrained or a new encoder) and its optimizer from a recipe."""

import torch

from motion_encoder import DSTformer, EncoderSize, load
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import find_task
from motion_encoder.tasks.task import SegmentTable
from pipelines.training.compute import ComputeConfig
from pipelines.training.train_step import Trained, make_optimizer
from pipelines.training.worker import Worker


def prepare(
    recipe: Recipe,
    table: SegmentTable,
    *,
    init: str | None = None,
    worker: Worker | None = None,
    compute: ComputeConfig | None = None,
) -> Trained:
    """Make the model and its optimizer on this worker's device; new weights depend only on the recipe's seed.

    Args:
        recipe: the recipe of the run.
        table: the training segments, with the class names to learn.
        init: URI or folder of the model whose encoder to start from; None to train from scratch.
        worker: this process; by default a single worker on the CPU.
        compute: how workers compute.

    Raises:
        ValueError: ``init`` is not a model or has another size, or the store has no data for the task.
    """
    worker, task = worker or Worker(), find_task(recipe.task)
    generator = torch.Generator().manual_seed(recipe.seed)
    encoder = DSTformer(recipe.encoder, generator) if init is None else _pretrained_encoder(init, recipe)
    model = task.make_model(recipe, encoder, table, generator)
    (compute or ComputeConfig()).prepare(model, model.encoder)
    model.to(worker.device)
    optimizer = make_optimizer(task, recipe, model, pretrained=init is not None)
    return Trained(task=task, recipe=recipe, model=model, network=model, optimizer=optimizer, worker=worker)


def _pretrained_encoder(init: str, recipe: Recipe) -> DSTformer:
    encoder = load(init).encoder
    check_size(init, encoder.config, recipe)
    return encoder.requires_grad_(True)  # a task's model may have frozen the pose head


def check_size(init: str, found: EncoderSize, recipe: Recipe) -> None:
    """Check that a pretrained encoder has the recipe's size.

    Raises:
        ValueError: the sizes differ; the message lists the fields.
    """
    differing = [
        f"{name} {wanted}, found {getattr(found, name)}"
        for name, wanted in vars(recipe.encoder).items()
        if name != "init_std" and getattr(found, name) != wanted
    ]
    if differing:
        raise ValueError(
            f"{init}: expected an encoder of the recipe's size: {'; '.join(differing)}. Choose a recipe with the "
            "encoder's size, or set these fields of the recipe's encoder."
        )
