#!/usr/bin/env python3
"""Plays four chords on a running stack, each at its exact time, and prints what the stack refuses.

examples/play.py [HOST [PORT]]   needs python-osc 1.10, and a patch with a module "keys", such as patches/pad.json
"""
import sys
import time

from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient

AHEAD = 0.1  # seconds from sending to sounding: longer than any datagram is on its way
BEAT = 0.5
CHORDS = [["A2", "C4", "E4"], ["F2", "C4", "F4"], ["C3", "E4", "G4"], ["G2", "D4", "G4"]]


def message(address, *arguments):
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build()


host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
port = int(sys.argv[2]) if len(sys.argv) > 2 else 5005
with SimpleUDPClient(host, port, timeout=2.0) as stack:
    begin = time.time() + AHEAD
    for beat, chord in enumerate(CHORDS):
        at = begin + beat * BEAT
        time.sleep(max(0.0, at - AHEAD - time.time()))
        bundle = OscBundleBuilder(at)  # the time tag: the notes take effect at this frame
        for pitch in chord:
            bundle.add_content(message("/note/keys", pitch, 90, 900.0 * BEAT))
        stack.send(bundle.build())
    stack.send(message("/sync", 1))
    for reply in stack.get_messages():
        if reply.address == "/synced":
            break
        print(reply.address, *reply.params)
    else:
        sys.exit(f"no reply from {host}:{port}; is the stack running?")
