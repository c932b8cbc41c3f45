# Adds up the numbers of each key. The lines are sorted, so all of a key stand together.
BEGIN { FS = OFS = "\t" }
NR > 1 && $1 != key { print key, sum; sum = 0 }
{ key = $1; sum += $2 }
END { if (NR) print key, sum }
