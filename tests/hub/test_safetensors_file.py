import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jaxbert.hub.safetensors_io import write_safetensors


def test_a_file_is_byte_for_byte_what_safetensors_writes(tmp_path):
    tensors = {
        "b.é": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "a": np.ones(1, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "half": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16),
        "ids": np.arange(3, dtype=np.int64),
    }
    write_safetensors(tensors, tmp_path)
    whole = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    save_file(whole, tmp_path / "expected", metadata={"format": "pt"})
    written = (tmp_path / "model.safetensors").read_bytes()
    assert written == (tmp_path / "expected").read_bytes()
