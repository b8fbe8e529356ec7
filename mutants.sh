#!/usr/bin/env bash
# Sabotages the rules one by one, in a copy of the tree; each sabotage must turn a test red.
set -eu
cd "$(dirname "$0")"
root=$PWD
tree=$root/target/mutants/tree
export CARGO_TARGET_DIR=$root/target/mutants/build

fresh() {
    mkdir -p "$tree"
    git ls-files -z | tar --null -T - -cf - | tar -C "$tree" -xf -
}

# mutant NAME FILE FROM TO COMMAND...: replaces the text FROM, which must be there, and runs COMMAND.
survivors=0
mutant() {
    name=$1 file=$2 from=$3 to=$4
    shift 4
    fresh
    FROM=$from TO=$to python3 - "$tree/$file" <<'P' || { echo "MUTANT $name: its text is no longer in $file"; exit 1; }
import os, sys
text = open(sys.argv[1]).read()
if os.environ["FROM"] not in text:
    sys.exit(1)
open(sys.argv[1], "w").write(text.replace(os.environ["FROM"], os.environ["TO"], 1))
P
    if (cd "$tree" && "$@") >"$root/target/mutants/$name.log" 2>&1; then
        echo "MUTANT $name: SURVIVED (see target/mutants/$name.log)"
        survivors=$((survivors + 1))
    elif grep -q "^error: could not compile\|^error\[" "$root/target/mutants/$name.log"; then
        echo "MUTANT $name: does not compile (see target/mutants/$name.log)"
        survivors=$((survivors + 1))
    else
        echo "MUTANT $name: caught"
    fi
}

# The engine's speed does not matter here.
quick() { cargo --config 'profile.dev.package.understudy-engine.opt-level=1' "$@"; }
# Without the model of the switch, which takes minutes.
rules() { cargo test --quiet -p understudy-failover --lib --test scenarios; }
mutant two-phase-order failover/src/switch.rs \
    '(self.acknowledged >= epoch || now_us >= until_us)' 'epoch.0 < u64::MAX' rules
mutant decision-ignored failover/src/decide.rs \
    'Decision::Made { seq, .. } if seq <= received => Step::Render(seq)' 'Decision::Made { .. } => Step::Render(received)' rules
mutant incarnation-check failover/src/audit.rs \
    '.filter(|proof| proof.incarnation == self.incarnation)' '' rules
mutant checksum-before-ready failover/src/audit.rs \
    'self.equal_in_a_row >= PROOF_BLOCKS && caught_up' 'caught_up' rules
mutant decision-without-cas common/src/stage/decisions.rs \
    'decided => return decided,' 'Decision::Gone => return Decision::Gone, _ => {}' cargo test --quiet -p understudy-common
mutant forgotten-piece common/src/checkpoint/writer.rs \
    'half.waiting[group] |= *written;' 'half.waiting[group] |= *written & 0xffff_ffff;' cargo test --quiet -p understudy-common
mutant recorded-twice recorder/src/recording_thread.rs \
    'next: order.from + frames / block_frames,' 'next: (order.from + frames / block_frames).saturating_sub(1),' cargo test --quiet -p understudy-recorder
mutant write-ahead supervisor/src/log.rs \
    'self.write(&bytes)?;
        (self.seq, self.submission_id' 'if self.offset == 0 { self.write(&bytes)?; }
        (self.seq, self.submission_id' quick test --quiet -p understudy-supervisor written_before
[ "$survivors" = 0 ]
