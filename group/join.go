package group

// JoinHooks calls all of some hooks, in their order.
func JoinHooks(all ...Hooks) Hooks {
	var joined Hooks
	for i := range all {
		joined = join(joined, &all[i])
	}
	return joined
}

func join(a Hooks, b *Hooks) Hooks {
	return Hooks{
		Fetched:   join2(a.Fetched, b.Fetched),
		Start:     join2(a.Start, b.Start),
		Waited:    join2(a.Waited, b.Waited),
		Done:      join2(a.Done, b.Done),
		Retry:     join3(a.Retry, b.Retry),
		Dead:      join3(a.Dead, b.Dead),
		Late:      join1(a.Late, b.Late),
		Stuck:     join2(a.Stuck, b.Stuck),
		Cancelled: join1(a.Cancelled, b.Cancelled),
		Reclaimed: join2(a.Reclaimed, b.Reclaimed),
		Released:  join2(a.Released, b.Released),
		Committed: join4(a.Committed, b.Committed),
		Renewed:   join3(a.Renewed, b.Renewed),
		LeaseLost: join1(a.LeaseLost, b.LeaseLost),
	}
}

func join1[A any](first, second func(A)) func(A) {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(a A) {
		first(a)
		second(a)
	}
}

func join2[A, B any](first, second func(A, B)) func(A, B) {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(a A, b B) {
		first(a, b)
		second(a, b)
	}
}

func join3[A, B, C any](first, second func(A, B, C)) func(A, B, C) {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(a A, b B, c C) {
		first(a, b, c)
		second(a, b, c)
	}
}

func join4[A, B, C, D any](first, second func(A, B, C, D)) func(A, B, C, D) {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(a A, b B, c C, d D) {
		first(a, b, c, d)
		second(a, b, c, d)
	}
}
