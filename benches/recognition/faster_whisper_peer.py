"""faster-whisper as a long-running process: a JSON line in, a JSON line out.

Usage: faster_whisper_peer.py MODEL_FOLDER PROMPT BEAM
The first line out is {"ready": VERSION}. Then each line in is the path of a 16 kHz mono WAV file, and each line out
{"text": TEXT, "seconds": TIME}: the time of the recognition alone, reading the file is not counted.
"""

import json
import sys
import time
import wave

import numpy
from faster_whisper import WhisperModel, __version__


def samples(path):
    with wave.open(path, "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2), path
        return numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16).astype(numpy.float32) / 32768.0


def main():
    folder, prompt, beam = sys.argv[1:4]
    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)
    print(json.dumps({"ready": __version__}), flush=True)
    for line in sys.stdin:
        audio = samples(line.rstrip("\n"))
        began = time.perf_counter()
        if beam == "1":
            # No timestamps, one temperature, no carried context: the same work as the other side does.
            how = {"beam_size": 1, "temperature": 0.0, "initial_prompt": prompt, "without_timestamps": True}
        else:
            # As its users run it.
            how = {"beam_size": int(beam), "initial_prompt": prompt or None, "vad_filter": True}
        segments, _ = model.transcribe(audio, language="zh", condition_on_previous_text=False, **how)
        text = "".join(segment.text for segment in segments)
        print(json.dumps({"text": text, "seconds": time.perf_counter() - began}), flush=True)


main()
