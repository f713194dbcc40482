"""`Module`: registration, traversal, state, hooks, slots, stages and located errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor.nn.quantized import Linear as StaticLinear


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Any) -> Any:
        return self.bn(self.conv(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block()])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Observer(nn.Module):
    """Stands for any module in a slot."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Any) -> Any:
        self.seen += 1
        return x


class Fake(Observer):
    slot_stage = "qat"


def test_names_are_pytorchs() -> None:
    net = Net()
    assert list(net.state_dict()) == [
        "blocks.0.conv.weight",
        "blocks.0.conv.bias",
        "blocks.0.bn.weight",
        "blocks.0.bn.bias",
        "blocks.0.bn.running_mean",
        "blocks.0.bn.running_var",
        "blocks.0.bn.num_batches_tracked",
        "head.1.weight",
        "head.1.bias",
    ]
    buffers = {name for name, _ in net.named_buffers()}
    assert [name for name, _ in net.named_parameters()] == [k for k in net.state_dict() if k not in buffers]
    assert [name for name, _ in net.named_modules()][:4] == ["", "blocks", "blocks.0", "blocks.0.conv"]
    assert net.get_submodule("blocks.0.conv") is net.blocks[0].conv
    assert net.get_parameter("head.1.bias") is net.head[1].bias
    with pytest.raises(AttributeError, match=r"blocks has no child '1' \(its children: '0'\)"):
        net.get_submodule("blocks.1.conv")


def test_a_shared_module_comes_once() -> None:
    relu = nn.Linear(2, 2)
    model = nn.Sequential(relu, relu)
    assert len(list(model.parameters())) == 2
    assert len(list(model.modules())) == 2


def test_state_goes_into_another_model() -> None:
    a, b = Net(), Net()
    x = ot.randn(2, 2, 2, 2)
    a(x)  # moves the running statistics
    b.load_state_dict(a.state_dict())
    a.eval()
    b.eval()
    np.testing.assert_array_equal(a(x).numpy(), b(x).numpy())
    assert b.state_dict()["head.1.bias"].numpy() is b.head[1].bias.numpy()


def test_nothing_is_loaded_when_something_does_not_fit() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    state = {k: v + 1 for k, v in before.items()}
    state["head.1.bias"] = ot.zeros(5)
    state["surplus"] = ot.zeros(1)
    del state["blocks.0.bn.bias"]
    with pytest.raises(ValueError, match=r"missing keys: blocks\.0\.bn\.bias") as error:
        net.load_state_dict(state)
    assert "unexpected keys: surplus" in str(error.value)
    assert "head.1.bias: expected shape (2,), got (5,)" in str(error.value)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    state["head.1.bias"] = ot.zeros(2)
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["blocks.0.bn.bias"], ["surplus"])


def test_a_missing_super_init_is_named() -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgot()


def test_assignment_registers_replaces_and_refuses() -> None:
    m = nn.Module()
    m.a = nn.Parameter([1.0])
    m.register_buffer("b", ot.ones(1))
    m.register_buffer("c", np.ones(1), persistent=False)
    m.d = nn.ReLU()
    assert list(m.state_dict()) == ["a", "b"]
    m.a = nn.Parameter([2.0])
    m.b = ot.zeros(2)
    assert m.state_dict()["b"].shape == (2,)
    with pytest.raises(TypeError, match="expected a Parameter"):
        m.a = ot.ones(1)
    m.a = None
    assert m.a is None
    m.d = None
    assert list(m.children()) == []
    del m.b
    assert not hasattr(m, "b")
    with pytest.raises(ValueError, match=r"without '\.'"):
        m.add_module("x.y", nn.ReLU())
    with pytest.raises(TypeError, match="expected a Module"):
        m.add_module("x", 3)
    with pytest.raises(AttributeError, match="Module has no attribute 'nothing'"):
        m.nothing  # noqa: B018


def test_train_eval_apply_and_zero_grad_reach_everything() -> None:
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    seen: list[nn.Module] = []
    net.apply(seen.append)
    assert set(seen) == set(net.modules())
    assert seen[-1] is net
    net(ot.randn(2, 2, 2, 2)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(ot.randn(2, 2, 2, 2)).requires_grad


def test_hooks_run_in_order_and_replace() -> None:
    m = nn.Identity()
    calls: list[str] = []
    pre = m.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    m.register_forward_hook(lambda module, args, output: calls.append("first"))
    last = m.register_forward_hook(lambda module, args, output: output * 10)
    assert m(ot.ones(1)).item() == 20
    assert calls == ["first"]
    pre.remove()
    with last:
        pass
    assert m(ot.ones(1)).item() == 1
    pre.remove()


def test_slots_see_the_output_after_the_hooks() -> None:
    m = nn.Linear(2, 2)
    observer = Observer()
    m.activation_post_process = observer
    m.register_forward_hook(lambda module, args, output: output * 0)
    seen = []
    observer.register_forward_hook(lambda module, args, output: seen.append(args[0].tolist()))
    m(ot.ones(1, 2))
    assert (observer.seen, seen) == (1, [[[0.0, 0.0]]])
    assert m.get_submodule("activation_post_process") is observer
    m.activation_post_process = None
    assert m.activation_post_process is None
    m(ot.ones(1, 2))
    assert observer.seen == 1


def test_a_slot_of_a_container_is_no_entry_of_it() -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    model.activation_post_process = Observer()
    model(ot.ones(1))
    assert model.activation_post_process.seen == 1
    assert len(model) == 2


def test_stages_follow_from_the_slots() -> None:
    m = nn.Linear(2, 2)
    model = nn.Sequential(m, nn.ReLU())
    assert (m.stage, model.stage) == ("float", "float")
    m.activation_post_process = Observer()
    assert (m.stage, model.stage) == ("calibrating", "calibrating")
    m.weight_fake_quant = Fake()
    assert m.stage == "qat"
    m.weight_fake_quant = None
    m.weight = ot.quantize_per_tensor(m.weight, 0.01, 0, ot.qint8)
    m.activation_post_process = None
    assert m.stage == "dynamic"
    m.activation_post_process = ot.QParams(0.5, 3, ot.quint8)
    assert (m.stage, model.stage) == ("static", "static")
    assert (m.scale, m.zero_point) == (0.5, 3)
    m.scale = 0.25
    assert m.activation_post_process == ot.QParams(0.25, 3, ot.quint8)
    assert [name for name, _ in m.named_parameters()] == ["bias"]
    model.append(nn.Linear(2, 2))
    model[2].activation_post_process = Fake()
    assert model.stage == "mixed"


def test_users_may_call_a_parameter_scale() -> None:
    m = nn.Module()
    m.scale = nn.Parameter([2.0])
    assert m.scale.item() == 2.0
    assert not hasattr(nn.Linear(1, 1), "scale")


def test_static_state_goes_into_another_static_layer() -> None:
    a, b = StaticLinear(3, 2), StaticLinear(3, 2)
    a.weight = ot.quantize_per_channel(ot.randn(2, 3), [0.01, 0.02], [0, 0], 0, ot.qint8)
    a.activation_post_process = ot.QParams(0.1, 7, ot.quint8)
    assert sorted(a.state_dict()) == ["bias", "scale", "weight", "zero_point"]
    x = ot.quantize_per_tensor(ot.randn(4, 3), 0.05, 128, ot.quint8)
    b(x)  # packs the weights that are replaced now
    b.load_state_dict(a.state_dict())
    assert b.weight.equal(a.weight)
    assert b.activation_post_process == a.activation_post_process
    assert a(x).equal(b(x))
    with pytest.raises(ValueError, match="prepare and convert it the same way"):
        nn.Linear(3, 2).load_state_dict(a.state_dict(), strict=False)


def test_packed_weights_are_dropped_with_what_they_came_from() -> None:
    m = StaticLinear(3, 2)
    x = ot.quantize_per_tensor(ot.randn(4, 3), 0.05, 128, ot.quint8)
    m.bias.data.zero_()
    assert m(x).int_repr().max() == 0
    m.bias = nn.Parameter([5.0, 6.0])
    assert m(x).int_repr().tolist() == [[5, 6]] * 4
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert other._cache is None
        assert other(x).equal(m(x))


def test_copies_share_nothing_and_shallow_copies_share_parameters() -> None:
    net = Net()
    deep = copy.deepcopy(net)
    deep.head[1].bias.data.fill_(9)
    assert net.head[1].bias.tolist() != deep.head[1].bias.tolist()
    m = nn.Linear(2, 2)
    shallow = m.shallow_copy()
    shallow.activation = nn.ReLU()
    assert shallow.weight is m.weight
    assert m.activation is None
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.head[1].weight, net.head[1].weight)


def test_errors_carry_the_path_once() -> None:
    net = Net()
    with pytest.raises(
        ValueError, match=r"^blocks\.0\.conv \(Conv2d, float\): conv2d: input: expected 2 channels, got 5"
    ):
        net(ot.zeros(1, 5, 2, 2))
    with pytest.raises(ValueError, match=r"^head\.1 \(Linear, float\): linear: input: expected shape \(\.\.\., 12\)"):
        net(ot.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match=r"^\(Linear, float\): linear"):
        nn.Linear(2, 2)(ot.zeros(3))


def test_an_unlocatable_error_keeps_its_arguments() -> None:
    class Two(nn.Module):
        def forward(self) -> None:
            raise ValueError("one", 2)

    with pytest.raises(ValueError, match="one") as error:
        Two()()
    assert error.value.args == ("one", 2)


def test_views_name_states() -> None:
    conv, relu = nn.Conv2d(1, 2, 3), nn.ReLU()
    fused = nn.intrinsic.ConvReLU2d(conv, relu)
    assert isinstance(fused, nn.Conv2d)
    assert isinstance(fused, nn.intrinsic.ConvReLU2d)
    assert not isinstance(conv, nn.intrinsic.ConvReLU2d)
    assert fused.weight is conv.weight
    static = nn.intrinsic.quantized.ConvReLU2d(1, 2, 3)
    assert isinstance(static, nn.intrinsic.quantized.ConvReLU2d)
    assert not isinstance(static, nn.quantized.Conv2d)
    assert static.stage == "static"
    with pytest.raises(TypeError, match=r"expected modules \(Conv2d, norm, activation\), got \(Conv2d, ReLU\)"):
        nn.intrinsic.ConvBnReLU2d(conv, relu)


def test_containers_behave_like_what_they_are_named_after() -> None:
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    s = nn.Sequential(a, b)
    s.append(c)
    assert list(s) == [a, b, c]
    assert list(s[1:]) == [b, c]
    assert s[-1] is c
    s[0] = c
    del s[1]
    assert list(s) == [c, c]
    assert [name for name, _ in nn.Sequential({"x": a, "y": b}).named_children()] == ["x", "y"]
    items = nn.ModuleList([a])
    items.insert(0, b)
    assert list(items) == [b, a]
    with pytest.raises(IndexError, match="got 5"):
        items[5]
    d = nn.ModuleDict({"a": a})
    d["b"] = b
    assert list(d) == ["a", "b"]
    assert "a" in d
    del d["a"]
    assert len(d) == 1


def test_repr_shows_the_tree() -> None:
    text = repr(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    assert text == ("Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): ReLU()\n)")
