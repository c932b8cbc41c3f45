package integration

import (
	"context"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
)

// wordsIn counts the words of all Go files below a directory. slow is a pause before each file, and before some hundred words.
func wordsIn(root string, split int, slow time.Duration) runnable {
	job := mapreduce.New("words", func(ctx context.Context, path string, emit func(string, int)) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for word := range strings.FieldsFuncSeq(string(text), notOfWord) {
			emit(word, 1)
		}
		return pauseFor(ctx, slow)
	}, func(ctx context.Context, word string, counts iter.Seq[int]) (int, error) {
		if slow > 0 && sumOf([]byte(word))%256 == 0 {
			if err := pauseFor(ctx, slow); err != nil {
				return 0, err
			}
		}
		return total(counts), nil
	})
	job.Combine = func(_ context.Context, _ string, counts iter.Seq[int]) (int, error) { return total(counts), nil }
	job.Queue, job.Partitions, job.Split = queue, 16, split
	return &runOf[string, string, int, int]{Job: job, inputs: goFiles(root)}
}

// notOfWord tells what is between words, as tr -c 'A-Za-z0-9_' does in the C locale.
func notOfWord(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
}

// goFiles are the Go files below a directory, in the order of their names.
func goFiles(root string) iter.Seq[string] {
	return func(yield func(string) bool) {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".go") && !yield(path) {
				return fs.SkipAll
			}
			return err
		})
	}
}
