#!/usr/bin/env bash
# One night: bring a manifest up to date, keep the reports of the night, shrink the cache.
#
#   nightly.sh MANIFEST [OPTION of `batchexport run`]...
#
# NIGHTLY_REPORTS  folder that gets a folder for each night; reports/ beside the manifest if unset
# NIGHTLY_KEEP     how many nights are kept; 30 if unset
# NIGHTLY_CACHE    size that the cache is shrunk to, such as 50GiB; the manifest's size_limit if unset
#
# Exits as `batchexport run` does, or with 75 if the night before is not over yet.
set -euo pipefail

manifest=${1:?usage: nightly.sh MANIFEST [OPTION of batchexport run]...}
shift
reports=${NIGHTLY_REPORTS:-$(dirname "$manifest")/reports}
keep=${NIGHTLY_KEEP:-30}

mkdir -p "$reports"
exec 9> "$reports/lock"
if ! flock --nonblock 9; then
    echo "nightly: the night before is not over yet, nothing is done" >&2
    exit 75
fi

night=$reports/$(date -u +%Y-%m-%dT%H-%M-%S.%3NZ)
mkdir "$night"
code=0
# 9>&- : whatever outlives this script must not hold the lock.
batchexport run "$manifest" --json "$night/report.json" --junit "$night/junit.xml" --html "$night/index.html" \
    "$@" > "$night/run.log" 2>&1 9>&- || code=$?
if [[ -e $night/report.json ]]; then # not if the manifest has a mistake, for instance
    if [[ -e $reports/latest/report.json ]]; then
        batchexport diff "$reports/latest/report.json" "$night/report.json" > "$night/changes.txt" 9>&- || true
    fi
    ln -sfn "$(basename "$night")" "$reports/latest"
fi

batchexport cache gc "$manifest" ${NIGHTLY_CACHE:+--max-size "$NIGHTLY_CACHE"} > "$night/gc.log" 2>&1 9>&- || {
    gc=$?
    ((code != 0)) || code=$gc
}

nights=("$reports"/20*/)
if ((${#nights[@]} > keep)); then
    rm -rf -- "${nights[@]:0:${#nights[@]}-keep}"
fi

# Only what cron should mail is printed.
if ((code != 0)); then
    tail -n 40 "$night/run.log"
    echo "nightly: exit code $code, see $night"
fi
exit "$code"
