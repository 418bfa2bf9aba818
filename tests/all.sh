#!/usr/bin/env bash
# Every check and test of this repository, in the order in which they fail fastest.
#
#   tests/all.sh              all of it: what CI runs
#   tests/all.sh lint test    only these steps
#
# It needs cargo, compilers for C and C++, and curl. What else there is to be used is used where it is
# installed, and must be there if a variable says `required`, as all of them do in CI: promtool
# (EVENKEEL_PROMTOOL), network namespaces with ip and nft, for root (EVENKEEL_NETNS), strace
# (EVENKEEL_STRACE), those two where CI's machine allows them, which it says; named and dig of BIND
# (EVENKEEL_DNS), nginx and haproxy (EVENKEEL_PEERS), openssl (EVENKEEL_OPENSSL), valgrind and
# Python 3.11 (EVENKEEL_VALGRIND), Python with grpcio (EVENKEEL_GRPC) and with
# websockets, wsproto and h2 (EVENKEEL_WEBSOCKET), podman with runc, skopeo and umoci
# (EVENKEEL_CONTAINERS), dpkg, lintian and man (EVENKEEL_DEB, which also installs the package and purges it),
# systemd-analyze (EVENKEEL_SYSTEMD), a systemd that can be booted in namespaces (EVENKEEL_BOOT), Landlock (EVENKEEL_LANDLOCK), Helm and the schemas of Kubernetes (EVENKEEL_KUBERNETES). Nothing is
# downloaded but crates, the database of advisories and, once, cargo-deny, what tests/support/requirements.txt
# and tests/shipped/requirements.txt list, and Helm.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DENY_VERSION=0.20.2
readonly NEVER_AGAIN='(lose_no|cost_no|cost_nothing|costs_no|no_request_fails|^kill::|^h2::(kill|reload|drain))'
readonly FUZZ_SECONDS=${FUZZ_SECONDS:-20}
target=${CARGO_TARGET_DIR:-target}

step_format() {
    cargo fmt --check
}

# Everything that compiles, tests and benches too; a warning is an error.
step_lint() {
    cargo clippy --locked --all-targets -- -D warnings
}

has_peers() {
    "$1/bin/python" -c 'import grpc, grpc_health, websockets' 2>/dev/null
}

# A Python that has grpcio and websockets, who else speaks gRPC and WebSocket: EVENKEEL_PYTHON. They are
# installed beside the build, once; where no index answers, that is soon known.
bring_peers() {
    [[ -z ${EVENKEEL_PYTHON:-} ]] || return 0
    local peers=$target/tools/peers wanted=tests/support/requirements.txt
    if ! cmp -s "$wanted" "$peers/installed" || ! has_peers "$peers"; then
        rm -rf "$peers"
        mkdir -p "$target/tools"
        if ! { python3 -m venv "$peers" && "$peers/bin/pip" install --quiet --retries 1 --timeout 5 \
                    -r "$wanted" && has_peers "$peers"; } >"$target/tools/peers.log" 2>&1; then
            echo "skipped: the tests of gRPC and WebSocket against grpcio and websockets, which cannot be" \
                "installed here (EVENKEEL_PYTHON may name a Python that has them):"
            tail -n 1 "$target/tools/peers.log"
            [[ ${EVENKEEL_GRPC:-} != required && ${EVENKEEL_WEBSOCKET:-} != required ]]
            return
        fi
        cp "$wanted" "$peers/installed"
    fi
    EVENKEEL_PYTHON=$(realpath "$peers")/bin/python
    export EVENKEEL_PYTHON
}

# Unit tests, the rules of the house, the black-box suites, the examples in the docs; and the proofs in their
# short form, unless the step `proofs` is to come.
step_test() {
    command -v promtool >/dev/null || [[ ${EVENKEEL_PROMTOOL:-} == required ]] \
        || echo "skipped: without promtool the alert rules and the dashboard's queries are not run"
    bring_peers
    local suites=() suite
    for suite in tests/*.rs tests/*/main.rs; do
        suite=$(basename "${suite%/main.rs}" .rs)
        [[ $suite == proofs && " ${steps[*]} " == *" proofs "* ]] || suites+=(--test "$suite")
    done
    attempt cargo test --locked --no-fail-fast --lib --bins --examples "${suites[@]}"
    cargo test --locked --doc
}

# Runs tests. Thousands of them start processes and wait for them, on machines that others use too: one or two that
# failed get a second chance, by themselves, and are named. Who fails then, or a third, has failed.
attempt() {
    local log=$target/attempt.log
    mkdir -p "$target"
    "$@" 2>&1 | tee "$log" || once_more "$log"
}

once_more() {
    local log=$1 name failed
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
    # Nothing else may have failed: what does not compile, or is killed, names no test.
    ((${#failed[@]} > 0 && ${#failed[@]} <= 2)) || return 1
    [[ $(grep -c '^error: test failed, to rerun' "$log") == "$(grep -c '^test result: FAILED' "$log")" ]] || return 1
    ! grep -q '^error: could not compile' "$log" || return 1
    for name in "${failed[@]}"; do
        # What promises that no request is lost may not lose one now and then.
        [[ ! $name =~ $NEVER_AGAIN ]] || return 1
    done
    echo "WARNING: failed, and is tried again alone: ${failed[*]}" >&2
    cargo test --locked --no-fail-fast --lib --bins --tests -- --exact "${failed[@]}" --nocapture \
        --test-threads 1 2>&1 | tee "$log" || return 1
    for name in "${failed[@]}"; do
        grep -qF "test $name ... " "$log" || return 1
    done
    flaky+=("${failed[@]}")
}

# The benches must not rot. The profile of the tests is enough for that, and already built.
step_bench() {
    cargo test --locked --benches --no-run
}

step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
}

# rustls with two providers cannot choose one, and panics. deny.toml bans ring too; this says who brings
# it, and looks at the fuzz targets as well.
without_ring() {
    local manifest=$1 tree
    if ! tree=$(cargo tree --locked --manifest-path "$manifest" --target all --all-features \
            --invert ring 2>"$target/ring.log"); then
        # Not in the lock file at all is as good as used by nothing.
        grep -q 'did not match any packages' "$target/ring.log" || { cat "$target/ring.log"; return 1; }
    fi
    [[ -z $tree ]] || { echo "$manifest brings ring:"; echo "$tree"; return 1; }
}

# deny.toml: licences, banned and doubled crates, sources; and advisories where they can be had.
step_deny() {
    mkdir -p "$target"
    without_ring Cargo.toml
    without_ring fuzz/Cargo.toml
    local deny=cargo-deny
    if ! command -v cargo-deny >/dev/null; then
        deny=$target/tools/bin/cargo-deny
        [[ -x $deny ]] || cargo install --locked --quiet --root "$target/tools" \
            --target-dir "$target/tools/build" "cargo-deny@$DENY_VERSION"
    fi
    "$deny" --locked check bans licenses sources
    if "$deny" fetch db 2>"$target/deny-fetch.log"; then
        "$deny" --locked check --disable-fetch advisories
    else
        echo "skipped: the database of advisories cannot be reached"
        grep -m 1 fatal "$target/deny-fetch.log" || true
    fi
}

# The program as it is shipped, static. Sets `evenkeel` and `revision` of who calls it.
build_released() {
    # What `evenkeel version` and the metric evenkeel_build_info say; only here, since each new one
    # means that the program is built again.
    revision=${EVENKEEL_REVISION:-$(git describe --always --dirty --abbrev=12 2>/dev/null || true)}
    evenkeel=$(EVENKEEL_REVISION=$revision deploy/program.py)
}

# Used as on its first day.
step_smoke() {
    local evenkeel folder revision
    build_released
    folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
    # From memory, where it may be started there: of a file on a disk the kernel counts as held whatever lies
    # in one piece of its cache with what is held, and how large those are is chance.
    if cp "$evenkeel" "$folder/evenkeel" && "$folder/evenkeel" version >/dev/null 2>&1; then
        evenkeel=$folder/evenkeel
    fi
    "$evenkeel" version
    "$evenkeel" version | grep -qF "${revision:-unknown}" || { echo "not of $revision"; return 1; }
    cat >"$folder/evenkeel.toml" <<TOML
version = 1

[admin]
socket = "$folder/admin.sock"

[shutdown]
grace = "100ms"

[listener.web]
bind = "127.0.0.1:18480"

[route.hello]
respond = { body = "hello" }
TOML
    "$evenkeel" check --config "$folder/evenkeel.toml"
    "$evenkeel" run --config "$folder/evenkeel.toml" &
    local pid=$!
    # From now on, whatever fails, nothing is left behind.
    trap 'kill -9 '"$pid"' 2>/dev/null || true; rm -rf '"$folder" EXIT
    local answer
    answer=$(curl -sS --retry 50 --retry-delay 1 --retry-connrefused --max-time 60 http://127.0.0.1:18480/)
    [[ $answer == hello ]] || { echo "curl got: $answer"; return 1; }
    "$evenkeel" --admin "$folder/admin.sock" status
    local held
    held=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")
    echo "holds $held KiB at rest"
    ((held <= 15 * 1024)) || { echo "that is more than 15 MiB"; return 1; }
    kill -TERM "$pid"
    wait "$pid"
    rm -rf "$folder"
    trap - EXIT
}

# What an exchange costs in instructions, against what benches/instructions/allowed.toml allows; and
# first, that this can fail.
step_instructions() {
    if ! python3 -c 'import tomllib' 2>/dev/null; then
        echo "skipped: no instructions are counted, there is no Python 3.11"
        [[ ${EVENKEEL_VALGRIND:-} != required ]] || return 1
        return 0
    fi
    python3 -m unittest discover --start-directory benches/instructions
    local evenkeel revision
    build_released
    benches/instructions/run.py --evenkeel "$evenkeel"
}

# Sets `python` of who calls it: one that has what reads manifests and charts, beside the build, else the
# usual one. Helm comes along. Where no index answers, that is soon known.
bring_charts() {
    local charts=$target/tools/charts wanted=tests/shipped/requirements.txt
    python=python3
    if ! cmp -s "$wanted" "$charts/installed" || [[ ! -x $charts/helm ]]; then
        rm -rf "$charts"
        mkdir -p "$target/tools"
        if ! { python3 -m venv "$charts" \
                && "$charts/bin/pip" install --quiet --retries 1 --timeout 5 -r "$wanted" \
                && "$charts/bin/python" tests/shipped/helm.py "$charts/helm" \
                && "$charts/helm" version; } >"$target/tools/charts.log" 2>&1; then
            echo "skipped: the tests of the chart and the manifests, whose tools cannot be installed here:"
            tail -n 1 "$target/tools/charts.log"
            [[ ${EVENKEEL_KUBERNETES:-} != required ]]
            return
        fi
        cp "$wanted" "$charts/installed"
    fi
    python=$charts/bin/python
    EVENKEEL_HELM=${EVENKEEL_HELM:-$(realpath "$charts")/helm}
    export EVENKEEL_HELM
}

# The image, the package, the unit, the manifests and the chart: built, read by the tools of others, run.
step_shipped() {
    if ! python3 -c 'import tomllib' 2>/dev/null; then
        echo "skipped: nothing is packed, there is no Python 3.11"
        [[ ${EVENKEEL_DEB:-} != required ]] || return 1
        return 0
    fi
    local evenkeel revision python
    build_released
    # CI's output shows how large they are.
    deploy/image.py --program "$evenkeel"
    deploy/deb.py --program "$evenkeel"
    bring_charts
    EVENKEEL_PROGRAM=$evenkeel "$python" -m unittest discover --start-directory tests/shipped
}

# The promises about reloads, drains and dying endpoints, a minute each. Another profile would prove the same,
# and compile everything once more.
step_proofs() {
    EVENKEEL_PROOF_SECONDS=60 attempt cargo test --locked --test proofs -- --nocapture
}

# Coverage-guided fuzzing with the stable compiler: libFuzzer only needs LLVM's instrumentation,
# and safe Rust needs no sanitizer. --target keeps the flags away from build scripts and macros.
# It begins with the seeds, which people wrote, and with the corpora, which earlier campaigns found.
step_fuzz() {
    local host flags name
    host=$(rustc -vV | sed -n 's/^host: //p')
    flags="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module"
    flags+=" -Cllvm-args=-sanitizer-coverage-level=4"
    flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    flags+=" -Cllvm-args=-sanitizer-coverage-pc-table"
    flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
    RUSTFLAGS=$flags cargo build --locked --release --manifest-path fuzz/Cargo.toml \
        --target "$host" --target-dir "$target/fuzz"
    for path in fuzz/fuzz_targets/*.rs; do
        name=$(basename "$path" .rs)
        local seeds=("fuzz/seeds/$name")
        [[ $name == config ]] && seeds+=(config src/config/cases)
        [[ -d fuzz/corpora/$name ]] && seeds+=("fuzz/corpora/$name")
        # What is found on the way is kept for the next run, seeds stay as they are.
        mkdir -p "$target/fuzz/corpus/$name"
        echo "fuzzing $name for $FUZZ_SECONDS s"
        "$target/fuzz/$host/release/$name" -max_total_time="$FUZZ_SECONDS" -print_final_stats=1 \
            -timeout=10 -dict="fuzz/dictionaries/$name.dict" -artifact_prefix="$target/fuzz/$name-" \
            "$target/fuzz/corpus/$name" "${seeds[@]}" 2>"$target/fuzz/$name.log" \
            || { tail -n 40 "$target/fuzz/$name.log"; return 1; }
        # There are none where a target has said that it is skipped.
        grep -E 'number_of_executed_units|new_units_added' "$target/fuzz/$name.log" || true
    done
}

flaky=()
steps=("$@")
((${#steps[@]})) || steps=(format lint test bench docs deny smoke shipped instructions fuzz proofs)
for step in "${steps[@]}"; do
    if ! declare -F "step_$step" >/dev/null; then
        echo "no step is called $step" >&2
        exit 2
    fi
    echo "== $step"
    start=$SECONDS
    # Not in a condition: a failing command within must end all of it.
    "step_$step"
    echo "== $step took $((SECONDS - start)) s"
done
((${#flaky[@]} == 0)) || echo "WARNING: FLAKY, passed only when tried again alone: ${flaky[*]}" >&2
