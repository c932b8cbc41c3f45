// Package programs makes map/reduce jobs of programs that read and write lines, as Hadoop streaming does.
//
//	spec := programs.Spec{Map: "tr -cs a-z '\\n'", Reduce: "uniq -c"}
//	set, err := programs.New(spec, execute.Config{Environ: os.Environ()})
//	for split, err := range programs.Cut(files, programs.CutConfig{}) { ... }
//	err = set.RunLocal(ctx, splits, programs.LocalConfig{Partitions: 16}, print)
//	job := set.Job("name") // or on the workers of a queue
//
// The map program reads lines and prints lines of a key, a tab and a value. The reduce program reads such lines of one partition, sorted
// by key, and prints what lines it likes. A line is what ends with a newline; all other bytes, NUL and CR among them, are left as they
// are.
package programs
