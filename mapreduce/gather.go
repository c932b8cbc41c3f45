package mapreduce

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/shuffle"
)

const (
	mostRead  = 4 << 20 // bytes of segments in one answer, by the size of those before
	firstRead = 8       // segments, while nothing is known of their size
	mostPage  = 1000    // segments of one answer, and manifests
)

// failedTask is in the place of the winner of a task that has failed.
const failedTask = "!"

// segmentField names a segment of an execution of a map task in its partition.
func segmentField(split int, execution string, number uint64) string {
	return strconv.Itoa(split) + "." + execution + "." + strconv.FormatUint(number, 10)
}

// pieceField names a piece of output of an execution of a reduce task.
func pieceField(execution string, number uint64) string {
	return execution + "." + strconv.FormatUint(number, 10)
}

// appendCounts encodes a manifest: of a map task how many segments each partition has, of a reduce task how many pieces each sorted
// sequence has.
func appendCounts(b []byte, counts []uint64) []byte {
	for _, n := range counts {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// parseDecided reads what was decided of a task. ok is false for one that has failed.
func parseDecided(text string) (execution string, counts []uint64, ok bool, err error) {
	if text == failedTask {
		return "", nil, false, nil
	}
	execution, manifest, found := strings.Cut(text, " ")
	if !found {
		return "", nil, false, fmt.Errorf("%w: a manifest is %.40q", ErrDataLost, text)
	}
	for b := []byte(manifest); len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return "", nil, false, fmt.Errorf("%w: the manifest of execution %s does not end", ErrDataLost, execution)
		}
		counts, b = append(counts, n), b[size:]
	}
	return execution, counts, true, nil
}

// winner is an execution of a map task that counts.
type winner struct {
	split     int
	execution string
	segments  uint64 // for the partition that is reduced
}

// winners are the executions of map tasks whose segments are to be reduced, in the order of the splits.
func (x *execution) winners(ctx context.Context) ([]winner, error) {
	all, err := x.at.record(ctx)
	if errors.Is(err, ErrNoRun) {
		x.stop(errOver)
		return nil, errOver
	}
	if err != nil {
		return nil, away(err)
	}
	found := make(map[int]winner, all.Maps)
	seen := make(map[int]struct{}, all.Maps) // a scan may tell one more than once
	for cursor := uint64(0); ; {
		var page []string
		err = x.again(ctx, func() (err error) {
			var next uint64
			if page, next, err = x.at.store.Client().HScan(ctx, x.Keys.Maps(), cursor, "", mostPage).Result(); err == nil {
				cursor = next
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(page); i += 2 {
			if err = x.take(page[i], page[i+1], found, seen); err != nil {
				return nil, err
			}
		}
		if cursor == 0 {
			break
		}
	}
	if len(seen) != all.Maps {
		return nil, x.missed(ctx, fmt.Sprintf("of %d map tasks %d are known", all.Maps, len(seen)))
	}
	winners := make([]winner, 0, len(found))
	for _, w := range found {
		winners = append(winners, w)
	}
	slices.SortFunc(winners, func(a, b winner) int { return cmp.Compare(a.split, b.split) })
	return winners, nil
}

// take notes the winner of a map task if it has sent anything to the partition.
func (x *execution) take(number, text string, found map[int]winner, seen map[int]struct{}) error {
	split, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("%w: a map task has the number %.40q", ErrDataLost, number)
	}
	execution, counts, ok, err := parseDecided(text)
	if err != nil {
		return err
	}
	seen[split] = struct{}{}
	if ok && x.Number < len(counts) && counts[x.Number] > 0 {
		found[split] = winner{split: split, execution: execution, segments: counts[x.Number]}
	}
	return nil
}

// gather reads the segments of the partition, in the order of the splits.
func (x *execution) gather(ctx context.Context, winners []winner, merger *shuffle.Merger) error {
	var fields []string
	page := firstRead
	read := func(all bool) error {
		for len(fields) >= page || all && len(fields) > 0 {
			n := min(page, len(fields))
			size, err := x.readSegments(ctx, fields[:n], merger)
			if err != nil {
				return err
			}
			fields = fields[n:]
			page = min(max(mostRead/max(size/n, 1), 1), mostPage)
		}
		return nil
	}
	for _, w := range winners {
		for number := range w.segments {
			fields = append(fields, segmentField(w.split, w.execution, number))
		}
		if err := read(false); err != nil {
			return err
		}
	}
	return read(true)
}

func (x *execution) readSegments(ctx context.Context, fields []string, merger *shuffle.Merger) (size int, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var values []any
	err = x.again(ctx, func() (err error) {
		values, err = x.at.store.Client().HMGet(ctx, x.Keys.Shuffle(x.Number), fields...).Result()
		return err
	})
	if err != nil {
		return 0, err
	}
	for i, value := range values {
		text, ok := value.(string)
		if !ok {
			return 0, x.missed(ctx, "segment "+fields[i]+" of partition "+strconv.Itoa(x.Number)+" is not there")
		}
		size += len(text)
		if err = merger.Add([]byte(text)); errors.Is(err, shuffle.ErrMalformed) {
			return 0, fmt.Errorf("%w: segment %s of partition %d: %w", ErrDataLost, fields[i], x.Number, err)
		}
		if err != nil {
			return 0, err
		}
	}
	return size, nil
}

// outputs are the sorted sequences of output of a run that is done.
func (p *place) outputs(ctx context.Context) ([]func() ([]byte, error), error) {
	record, err := p.record(ctx)
	if err != nil {
		return nil, err
	}
	var decided map[string]string
	err = p.again(ctx, func() (err error) {
		decided, err = p.store.Client().HGetAll(ctx, p.keys.Reduces()).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	var sources []func() ([]byte, error)
	for partition := range record.Partitions {
		text, there := decided[strconv.Itoa(partition)]
		if !there {
			return nil, fmt.Errorf("%w: what partition %d gave is not known", ErrDataLost, partition)
		}
		execution, counts, ok, err := parseDecided(text)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // it failed, and that was tolerated
		}
		first := uint64(0)
		for _, n := range counts {
			sources = append(sources, p.sequence(ctx, partition, execution, first, first+n))
			first += n
		}
	}
	return sources, nil
}

// sequence reads the pieces of a sorted sequence, one after the other.
func (p *place) sequence(ctx context.Context, partition int, execution string, next, end uint64) func() ([]byte, error) {
	return func() (piece []byte, err error) {
		if next == end {
			return nil, nil
		}
		field := pieceField(execution, next)
		next++
		err = p.again(ctx, func() (err error) {
			piece, err = p.store.Client().HGet(ctx, p.keys.Out(partition), field).Bytes()
			return err
		})
		if errors.Is(err, redis.Nil) {
			if _, err = p.record(ctx); err == nil {
				err = fmt.Errorf("%w: piece %s of partition %d is not there", ErrDataLost, field, partition)
			}
		}
		return piece, err
	}
}
