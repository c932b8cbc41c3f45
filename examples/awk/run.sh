#!/bin/sh
# Counts the words of files with awk, on all CPUs of this machine and without Redis:
#
#   examples/awk/run.sh '*.md'
#
# The same on workers, as many as there are and anywhere; both sides name the same programs:
#
#   worker-machine work --mapreduce --dir examples/awk --map 'awk -f map.awk' --reduce 'awk -f sum.awk' --combine
#   worker-machine mapreduce --input '*.md' --map 'awk -f map.awk' --reduce 'awk -f sum.awk' --combine
set -eu
here=$(dirname "$(realpath "$0")")
exec "${WORKER_MACHINE:-worker-machine}" mapreduce --local --input "${1:?give a pattern of files, such as '*.md'}" \
	--map "awk -f '$here/map.awk'" --reduce "awk -f '$here/sum.awk'" --combine
