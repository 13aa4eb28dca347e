"""The protos as a descriptor image, for buf and for tests that read comments and bindings.

python -m tests.support.protos lint      buf lint
python -m tests.support.protos breaking  buf breaking against the image of the last release
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2

from tests.support.places import ROOT

PROTO = ROOT / "proto"
_CONFIG = PROTO / "buf.yaml"
_RELEASE = re.compile(r"taskforge\.v(\d+)\.(\d+)\.binpb")


def build_image(path: Path, *, comments: bool = True) -> None:
    """Write the descriptor set of every proto, with its imports."""
    well_known = resources.files("grpc_tools") / "_proto"
    sources = sorted(str(source.relative_to(PROTO)) for source in PROTO.rglob("*.proto"))
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{well_known}"),
            f"-I{sysconfig.get_paths()['purelib']}",
            *(["--include_source_info"] if comments else []),
            *("--include_imports", f"--descriptor_set_out={path}", *sources),
        ],
        check=True,
    )


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    """The image, parsed, with comments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.binpb"
        build_image(path)
        return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def lint() -> str:
    """What buf lint says; empty: nothing."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        build_image(image)
        return _buf("lint", str(image))


def breaking(current: Path) -> str:
    """What an image breaks of the last release; empty: nothing."""
    return _buf("breaking", str(current), "--against", str(last_release()))


def last_release() -> Path:
    """The newest kept image. Without one nothing could be said, so that is an error."""
    found = [
        (int(match[1]), int(match[2]), path) for path in PROTO.iterdir() if (match := _RELEASE.fullmatch(path.name))
    ]
    if not found:
        raise FileNotFoundError("proto/ holds no taskforge.vX.Y.binpb to compare with")
    return max(found)[2]


def _buf(*arguments: str) -> str:
    buf = Path(sys.executable).with_name("buf")
    done = subprocess.run(
        [str(buf), *arguments, "--config", str(_CONFIG)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    # 100: it found something. Anything else is a fault of the call and must not pass for a clean answer.
    if done.returncode not in (0, 100):
        raise RuntimeError(f"buf {arguments[0]} failed: {done.stderr}")
    if done.returncode == 100 and not done.stdout:
        raise RuntimeError(f"buf {arguments[0]} found something and did not say what: {done.stderr}")
    return done.stdout


def main() -> None:
    """Run one of the commands."""
    match sys.argv[1:]:
        case ["lint"]:
            found = lint()
        case ["breaking"]:
            with tempfile.TemporaryDirectory() as folder:
                image = Path(folder) / "image.binpb"
                build_image(image)
                found = breaking(image)
        case _:
            sys.exit(__doc__)
    sys.exit(found or 0)


if __name__ == "__main__":
    main()
