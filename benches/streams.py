#!/usr/bin/env python3
"""Total tokens a second of an OpenAI-compatible server under N streams at once.

    streams.py URL [--model NAME] [--streams 8] [--tokens 128] [--rounds 5]

Each stream sends its own prompt of about 20 tokens to /v1/completions, greedy, and reads the answer
as it comes. A round ends when every stream has; the figure is all tokens over its seconds, and the
median of the rounds is printed last. Tokens are those that the server says in `usage`.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.request

TOPICS = ["the sea", "a bridge", "bread", "a clock", "the harvest", "a library", "rain", "a loom"]


def stream(url, body, counts, index):
    request = urllib.request.Request(
        url + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            usage = json.loads(line[6:]).get("usage")
            if usage:
                counts[index] = usage["completion_tokens"]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("url")
    options.add_argument("--model", default=None)
    options.add_argument("--streams", type=int, default=8)
    options.add_argument("--tokens", type=int, default=128)
    options.add_argument("--rounds", type=int, default=5)
    options = options.parse_args()
    rates = []
    for number in range(options.rounds):
        counts, threads = [0] * options.streams, []
        for index in range(options.streams):
            topic = TOPICS[index % len(TOPICS)]
            body = {
                "prompt": f"Story {number}-{index}. Once upon a time there lived somebody who loved {topic}, and",
                "max_tokens": options.tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            if options.model:
                body["model"] = options.model
            threads.append(threading.Thread(target=stream, args=(options.url, body, counts, index)))
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rates.append(sum(counts) / (time.monotonic() - started))
        print(f"round {number + 1}: {sum(counts)} tokens, {rates[-1]:.1f} a second", flush=True)
    print(f"median {statistics.median(rates):.1f} tokens a second")


if __name__ == "__main__":
    main()
