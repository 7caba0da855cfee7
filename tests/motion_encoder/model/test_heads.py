"""The action head against its definition, and what may not change an answer."""

import pytest
import torch
from torch import Tensor

from motion_encoder import SIZES, ActionHead, ActionHeadConfig, ActionModel, DSTformer, DSTformerConfig

ENCODER = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=8, max_frames=12)
LABELS = ("walk", "wave", "squat")


def small_model(*, published_means: bool = False) -> ActionModel:
    generator = torch.Generator().manual_seed(0)
    config = ActionHeadConfig(hidden=6, published_means=published_means)
    model = ActionModel(DSTformer(ENCODER, generator), LABELS, config, generator)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator)
    return model.eval()


def samples(num_people: int, num_frames: int = 6, num_samples: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(num_samples, num_people, num_frames, 17, 3, generator=torch.Generator().manual_seed(seed)) + 0.1


def published_logits(model: ActionModel, x_BPTJC: Tensor) -> Tensor:
    """Section 4.2 step by step: mean over T, flatten, mean over P, linear, batch norm, ReLU, linear."""
    logits = []
    for people in x_BPTJC:
        means = torch.stack([model.encoder.encode(person[None])[0].mean(dim=0).flatten() for person in people])
        hidden = model.head.fc1.weight @ means.mean(dim=0) + model.head.fc1.bias
        norm = model.head.bn
        assert norm.running_mean is not None
        assert norm.running_var is not None
        hidden = (hidden - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        logits.append(model.head.fc2.weight @ hidden.clamp_min(0) + model.head.fc2.bias)
    return torch.stack(logits)


def test_parameters_of_the_published_size():
    with torch.device("meta"):
        head = ActionHead(ActionHeadConfig(), DSTformerConfig.of(SIZES["motionbert"]), 60, torch.Generator())
    assert sum(parameter.numel() for parameter in head.parameters()) == 17_954_876
    assert {name.split(".")[0] for name in head.state_dict()} == {"fc1", "bn", "fc2"}


@pytest.mark.parametrize("num_people", [1, 2])
def test_is_the_published_head_when_all_are_there(num_people):
    model, x_BPTJC = small_model(), samples(num_people)
    with torch.no_grad():
        torch.testing.assert_close(model(x_BPTJC), published_logits(model, x_BPTJC), rtol=0, atol=1e-5)


def test_an_absent_person_does_not_count():
    model, x_BPTJC = small_model(), samples(1)
    with_absent_BPTJC = torch.cat([x_BPTJC, torch.zeros_like(x_BPTJC)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(with_absent_BPTJC), model(x_BPTJC), rtol=0, atol=1e-5)
        assert not torch.allclose(published_logits(model, with_absent_BPTJC), model(x_BPTJC), atol=1e-3)


@pytest.mark.parametrize("num_people", [1, 2])
def test_published_means_count_whoever_is_absent(num_people):
    model, x_BPTJC = small_model(published_means=True), samples(num_people)
    x_BPTJC = torch.cat([x_BPTJC, torch.zeros_like(x_BPTJC)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(x_BPTJC), published_logits(model, x_BPTJC), rtol=0, atol=1e-5)
        assert not torch.allclose(model(x_BPTJC), model(x_BPTJC[:, :num_people]), atol=1e-3)


def test_published_means_leave_padding_out():
    model, x_BPTJC = small_model(published_means=True), samples(2)
    x_BPTJC[:, 1] = 0
    valid_BT = torch.arange(6).expand(3, 6) < 4
    with torch.no_grad():
        alone = published_logits(model, x_BPTJC[:, :, :4])
        torch.testing.assert_close(model(x_BPTJC, valid_BT), alone, rtol=0, atol=1e-5)


def test_a_person_seen_only_in_the_padding_is_absent():
    model, x_BPTJC = small_model(), samples(2)
    valid_BT = torch.arange(6).expand(3, 6) < 4
    x_BPTJC[:, 1, :4] = 0
    with torch.no_grad():
        torch.testing.assert_close(model(x_BPTJC, valid_BT), model(x_BPTJC[:, :1, :4]), rtol=0, atol=1e-5)


def test_people_have_no_order():
    model, x_BPTJC = small_model(), samples(2)
    with torch.no_grad():
        torch.testing.assert_close(model(x_BPTJC.flip(1)), model(x_BPTJC), rtol=0, atol=1e-5)


def test_padding_does_not_matter():
    model, x_BPTJC = small_model(), samples(2)
    lengths = (6, 4, 1)
    valid_BT = torch.arange(6) < torch.tensor(lengths)[:, None]
    padded_BPTJC = torch.where(valid_BT[:, None, :, None, None], x_BPTJC, 9.0)
    with torch.no_grad():
        logits = model(padded_BPTJC, valid_BT)
        for sample, length in enumerate(lengths):
            alone = model(x_BPTJC[sample : sample + 1, :, :length])
            torch.testing.assert_close(logits[sample], alone[0], rtol=0, atol=1e-5)


def test_nobody_gives_finite_logits():
    assert small_model()(torch.zeros(2, 2, 3, 17, 3)).isfinite().all()


def test_gradient_reaches_all_but_the_pose_head():
    model = small_model().train()
    model(samples(2)).square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"encoder.head.weight", "encoder.head.bias"}
    assert not any(model.get_parameter(name).requires_grad for name in without)


def test_dropout_is_for_training_only():
    model, x_BPTJC = small_model(), samples(1)
    with torch.no_grad():
        assert torch.equal(model(x_BPTJC), model(x_BPTJC))
        model.train()
        torch.manual_seed(0)
        assert not torch.allclose(model(x_BPTJC), model(x_BPTJC), atol=1e-3)


def test_only_the_generator_decides_the_weights():
    def drawn(global_seed: int, seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        return ActionHead(ActionHeadConfig(hidden=6), ENCODER, 3, torch.Generator().manual_seed(seed)).fc1.weight

    assert torch.equal(drawn(1, 7), drawn(2, 7))
    assert not torch.equal(drawn(1, 7), drawn(1, 8))
    assert drawn(1, 7).abs().max() <= (17 * 8) ** -0.5


@pytest.mark.parametrize("labels", [(), ("walk", "walk")])
def test_labels_must_tell_classes_apart(labels):
    generator = torch.Generator()
    with pytest.raises(ValueError, match="different names of classes"):
        ActionModel(DSTformer(ENCODER, generator), labels, ActionHeadConfig(), generator)


@pytest.mark.parametrize(("changes", "message"), [({"hidden": 0}, "head.hidden"), ({"dropout": 1.0}, "head.dropout")])
def test_config(changes, message):
    with pytest.raises(ValueError, match=message):
        ActionHeadConfig(**changes)
