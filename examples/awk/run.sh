#!/bin/sh
# Counts the words of files with awk, on all CPUs of this machine and without Redis:
#
#   examples/awk/run.sh '*.md'
#
# Without --local, and with REDIS_URL, workers do it that were started with the same programs:
#
#   worker-machine work --mapreduce --map 'awk -f map.awk' --reduce 'awk -f sum.awk' --dir examples/awk
set -eu
here=$(dirname "$(realpath "$0")")
exec "${WORKER_MACHINE:-worker-machine}" mapreduce --local --input "$1" \
	--map "awk -f '$here/map.awk'" --reduce "awk -f '$here/sum.awk'" --combine-reduce
