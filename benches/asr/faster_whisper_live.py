"""faster-whisper as a server for live calls: the utterances of N calls, each handed over when an end-pointer would.

Usage: faster_whisper_live.py MODEL_FOLDER RECORDING CALLS
Prints {"latencies": [...]}: seconds from the end of each utterance to its text. Every utterance is handed over 0.2 s
after its end, which is the least that any end-pointer needs; nothing is recognised in vain and no tentative text made.
"""

import json
import pathlib
import queue
import sys
import threading
import time
import wave

import numpy
from faster_whisper import WhisperModel

APART = 0.37  # Seconds between the beginnings of two calls.
MARGIN = 0.2  # Seconds kept before and after an utterance, and waited for.


def utterances(recording):
    """The utterances of the recording: their sound at 16 kHz and when they end."""
    with wave.open(str(recording), "rb") as file:
        rate = file.getframerate()
        samples = numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16).reshape(-1, file.getnchannels())
    for said in json.loads(recording.with_suffix(".json").read_text())["utterances"]:
        start, end = said["start_ms"] / 1000, said["end_ms"] / 1000
        leg = samples[:, 1 if said["speaker"] == "operator" else 0]
        clip = leg[int(max(0, start - MARGIN) * rate) : int((end + MARGIN) * rate)].astype(numpy.float32) / 32768.0
        times = numpy.arange(len(clip) * 16000 // rate) * rate / 16000
        yield numpy.interp(times, numpy.arange(len(clip)), clip).astype(numpy.float32), end


def main():
    folder, recording, calls = sys.argv[1:4]
    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)
    said = list(utterances(pathlib.Path(recording)))
    recognise(model, said[0][0])
    plan = sorted((call * APART + end, at) for call in range(int(calls)) for at, (_, end) in enumerate(said))
    waiting, latencies = queue.Queue(), []

    def serve():
        while (item := waiting.get()) is not None:
            end, clip = item
            recognise(model, clip)
            latencies.append(time.monotonic() - end)

    server = threading.Thread(target=serve)
    server.start()
    began = time.monotonic()
    for end, at in plan:
        time.sleep(max(0.0, began + end + MARGIN - time.monotonic()))
        waiting.put((began + end, said[at][0]))
    waiting.put(None)
    server.join()
    print(json.dumps({"latencies": latencies}))


def recognise(model, clip):
    segments, _ = model.transcribe(clip, language="zh", beam_size=5, vad_filter=True, condition_on_previous_text=False)
    return "".join(segment.text for segment in segments)


main()
