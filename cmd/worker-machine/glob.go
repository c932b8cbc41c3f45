package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// absolutePatterns makes patterns that mean the same in any directory.
func absolutePatterns(patterns []string) ([]string, error) {
	list := make([]string, len(patterns))
	for i, pattern := range patterns {
		if pattern == "-" {
			return nil, usagef("--input: - is stdin, and cannot stand beside files; write ./- for a file of that name")
		}
		path, err := filepath.Abs(pattern)
		if err != nil {
			return nil, err
		}
		list[i] = path
	}
	return list, nil
}

// expand names the files of patterns, those of each in order, and none twice. A pattern without a file is an error.
func expand(patterns []string) ([]string, error) {
	var paths []string
	seen := map[string]bool{}
	for _, pattern := range patterns {
		found, err := expandOne(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !seen[path] {
				seen[path] = true
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

func expandOne(pattern string) ([]string, error) {
	if _, err := os.Lstat(pattern); err == nil || !strings.ContainsAny(pattern, `*?[`) {
		return []string{pattern}, nil // whoever cuts it says what is wrong with it
	}
	base, rest, deep := strings.Cut(pattern, "/**/")
	var found []string
	var err error
	if deep {
		found, err = below(base, rest)
	} else {
		found, err = filepath.Glob(pattern)
		found = slices.DeleteFunc(found, isDirectory)
	}
	switch {
	case errors.Is(err, filepath.ErrBadPattern):
		return nil, usagef("--input %s: it is no pattern; a [ wants a ], or a \\ before it", pattern)
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("--input %s: no file matches", pattern)
	}
	return found, nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// below names the files at any depth below the directories that base matches, whose names match a pattern.
func below(base, pattern string) (found []string, err error) {
	if strings.Contains(pattern, "/") {
		return nil, usagef("--input %s/**/%s: after ** only the name of a file can be a pattern", base, pattern)
	}
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, err
	}
	roots, err := filepath.Glob(base + "/")
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Clean(root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if matches, _ := filepath.Match(pattern, entry.Name()); matches && entry.Type().IsRegular() {
				found = append(found, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
