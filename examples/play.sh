#!/bin/sh
# Plays four bars of drums on a running stack: two sequences, a room that grows, a fill in the last bar.
# examples/play.sh   needs the program understudy in PATH; UNDERSTUDY_INSTANCE names the stack
set -eu
patches=$(dirname -- "$0")/../patches

# Without sequences nothing plays on, even if this script is interrupted.
stop() { for id in kick hats; do understudy send /seq/remove "$id" || true; done; }
trap stop EXIT
trap 'exit 130' INT TERM

understudy patch load "$patches/drums.json"
understudy send /seq/add kick kick "X..x..X.X..x..x." C2
understudy send /seq/add hats hat "x.xX" C4
understudy send /mod/room/decay 2.5 6000     # the room grows within six seconds
sleep 6
understudy send /seq/update hats "E(11,16)"
understudy send /seq/ratchet hats 1 1 2 1 1 3
sleep 2
understudy send /seq/list
