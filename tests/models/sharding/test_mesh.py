"""The mesh: sizes, the axis that takes the rest, and what is refused."""

import jax
import numpy as np
import pytest

from orl_jax.models.sharding.mesh import AXES, make_mesh
from orl_jax.run.errors import UserError


class Device:
    """A device of some process."""

    def __init__(self, number, process=0):
        self.id, self.process_index = number, process

    def __repr__(self):
        return f"Device {self.id}"


@pytest.fixture
def build(monkeypatch):
    """The shape of the mesh of `count` devices, as a dict."""

    def build(sizes, count, processes=1):
        import orl_jax.models.sharding.mesh as module

        monkeypatch.setattr(module.jax, "process_count", lambda: processes)
        monkeypatch.setattr(module, "Mesh", lambda devices, axes: Fake(devices, axes))
        devices = [Device(n, n * processes // count) for n in range(count)]
        return make_mesh(sizes, devices)

    class Fake:
        __class__ = jax.sharding.Mesh  # passes for a mesh, without real devices

        def __init__(self, devices, axes):
            self.devices, self.shape = devices, dict(zip(axes, devices.shape, strict=True))

    return build


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({"data": -1}, (8, 1, 1)),
        ({"data": -1, "fsdp": 2, "tensor": 2}, (2, 2, 2)),
        ({"data": 1, "fsdp": -1, "tensor": 4}, (1, 2, 4)),
        ({"data": 2, "fsdp": 2, "tensor": 2}, (2, 2, 2)),
        ({"data": 8, "fsdp": -1, "tensor": 1}, (8, 1, 1)),
    ],
)
def test_sizes(build, sizes, shape):
    assert build(sizes, 8).shape == dict(zip(AXES, shape, strict=True))


def test_tensor_neighbours_are_devices_in_a_row(build):
    devices = build({"data": -1, "tensor": 2}, 8, processes=4).devices
    numbers = np.vectorize(lambda device: device.id)(devices)
    np.testing.assert_array_equal(numbers[:, 0], [[0, 1], [2, 3], [4, 5], [6, 7]])


@pytest.mark.parametrize(
    ("sizes", "count", "words"),
    [
        ({"data": 3}, 4, "data=3, fsdp=1, tensor=1, which takes 3 devices"),
        ({"data": 2}, 4, "there are 4"),
        ({"data": -1, "fsdp": 3}, 4, "takes 3 devices or a multiple"),
        ({"data": -1, "fsdp": -1}, 4, "one may be -1"),
        ({"data": 0}, 4, "sizes are 1 or more"),
        ({"data": 8}, 4, "which takes 8 devices"),
    ],
)
def test_what_does_not_fit_is_refused(build, sizes, count, words):
    with pytest.raises(UserError, match=words):
        build(sizes, count)


def test_a_tensor_axis_stays_in_one_process(build):
    build({"data": -1, "tensor": 2}, 8, processes=4)
    with pytest.raises(UserError, match="spans more than one process of 2 devices.*a divisor of 2"):
        build({"data": -1, "tensor": 4}, 8, processes=4)
