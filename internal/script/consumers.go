package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var consumersScript = load("consumers")

// Consumer is one of a group.
type Consumer struct {
	Name    string
	Pending int64
	Idle    time.Duration // since it last asked for something
	Lease   string        // text of its lease, "" without one
	Left    time.Duration // of the lease; negative where it does not end
	Oldest  *Row          // of what is pending with it, nil for nothing
}

// ConsumerQuery says which consumers to look at.
type ConsumerQuery struct {
	After string // the name before the first one
	Name  string // this one only
	Limit int
}

// ConsumerPage is a part of the consumers of a queue.
type ConsumerPage struct {
	Now       time.Time // by the clock of Redis
	Consumers []Consumer
	Total     int
	More      bool
}

// Consumers reads a page of the consumers of a group, in the order of their names; the one that is nobody is not among them.
func (r *Runner) Consumers(ctx context.Context, keys wire.Keys, group string, q ConsumerQuery) (ConsumerPage, error) {
	const values, columns = 3, 6
	answer, err := r.run(ctx, consumersScript, []string{keys.Tasks()}, []any{group, keys.Lease(""), q.After, q.Name, q.Limit})
	if err != nil {
		return ConsumerPage{}, err
	}
	rows, err := list(consumersScript, answer, values)
	if err != nil {
		return ConsumerPage{}, err
	}
	page := ConsumerPage{Now: millis(rows[0]), Total: number(rows[1]), More: number(rows[2]) == 1}
	for _, row := range rows[values:] {
		row, err := list(consumersScript, row, columns)
		if err != nil {
			return page, err
		}
		oldest, err := decodeOldest(text(row[0]), row[5])
		if err != nil {
			return page, err
		}
		page.Consumers = append(page.Consumers, Consumer{
			Name: text(row[0]), Pending: int64(number(row[1])), Idle: ms(row[2]), Lease: text(row[3]), Left: ms(row[4]), Oldest: oldest,
		})
	}
	return page, nil
}

func decodeOldest(worker string, v any) (*Row, error) {
	const columns = 4
	values, err := list(consumersScript, v, 0)
	if err != nil || len(values) < columns {
		return nil, err
	}
	row := &Row{Place: text(values[0]), Worker: worker, Idle: ms(values[1]), Deliveries: int64(number(values[2])), Size: number(values[3])}
	for _, field := range values[columns:] {
		row.Fields = append(row.Fields, text(field))
	}
	return row, nil
}
