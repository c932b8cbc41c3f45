package programs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/words"
)

// Spec is the programs of a job as a person writes them.
type Spec struct {
	Map     string `json:"map"`
	Reduce  string `json:"reduce"`
	Combine string `json:"combine,omitempty"` // none when it is empty
	Shell   bool   `json:"shell,omitempty"`   // sh -c runs them
}

// Fingerprint tells programs apart: only workers with the same ones take a run. It is 16 hexadecimal digits.
func (s Spec) Fingerprint() string {
	data, err := json.Marshal(s)
	if err != nil { // a struct of strings
		panic(err)
	}
	sum := sha256.Sum256(append([]byte("worker-machine programs 1\n"), data...))
	const digits = 8
	return hex.EncodeToString(sum[:digits])
}

// SpecError is what is wrong with one of the programs.
type SpecError struct {
	Flag  string // map, reduce, combine
	Cause error
}

// Error names the flag.
func (e *SpecError) Error() string { return fmt.Sprintf("--%s: %v", e.Flag, e.Cause) }

// Unwrap gives the cause.
func (e *SpecError) Unwrap() error { return e.Cause }

var errMissing = errors.New("it is missing")

// split makes words of the programs, all mistakes at once.
func (s Spec) split() (map[string]execute.Config, error) {
	configs := map[string]execute.Config{}
	var errs []error
	for flag, text := range map[string]string{"map": s.Map, "reduce": s.Reduce, "combine": s.Combine} {
		if text == "" && flag == "combine" {
			continue
		}
		cfg := execute.Config{Shell: text}
		var err error
		if !s.Shell {
			cfg.Shell = ""
			cfg.Words, err = words.Split(text)
		}
		var special *words.SpecialError
		switch {
		case errors.As(err, &special):
			err = fmt.Errorf("%w (--shell)", err)
		case err == nil && cfg.Shell == "" && len(cfg.Words) == 0:
			err = errMissing
		}
		if err != nil {
			errs = append(errs, &SpecError{Flag: flag, Cause: err})
		}
		configs[flag] = cfg
	}
	return configs, errors.Join(errs...)
}

// Check reports what is wrong with the programs, without looking for them: they may be on other machines.
func (s Spec) Check() error {
	_, err := s.split()
	return err
}

// Set is the programs of a job, found on this machine. It is safe for concurrent use.
type Set struct {
	Files Files // what map tasks may read; set it before the first use

	mapper, reducer *execute.Program
	combiner        *execute.Program // nil: none
	combineBytes    int              // of output of the map program that are combined at a time
}

// New finds the programs. common says where and how they run; its Words and Shell are of no account.
func New(spec Spec, common execute.Config) (*Set, error) {
	configs, err := spec.split()
	if err != nil {
		return nil, err
	}
	set := &Set{combineBytes: defaultCombine}
	var errs []error
	for flag, cfg := range configs {
		cfg.Environ, cfg.Pass, cfg.Dir, cfg.MaxOutput = common.Environ, common.Pass, common.Dir, common.MaxOutput
		program, err := execute.New(cfg)
		if err != nil {
			errs = append(errs, &SpecError{Flag: flag, Cause: err})
			continue
		}
		switch flag {
		case "map":
			set.mapper = program
		case "reduce":
			set.reducer = program
		default:
			set.combiner = program
		}
	}
	return set, errors.Join(errs...)
}
