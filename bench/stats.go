package main

import (
	"math"
	"slices"
)

// median of no values is NaN.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile interpolates between the two nearest values; of no values it is NaN.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (sorted[low+1]-sorted[low])*(at-float64(low))
}

// ratios divides the values of rounds by those of the floor in the same round; rounds that one of them lacks are left out.
func ratios(values, floor map[int]float64) []float64 {
	rounds := make([]int, 0, len(values))
	for round := range values {
		rounds = append(rounds, round)
	}
	slices.Sort(rounds)
	all := []float64{}
	for _, round := range rounds {
		if base, ok := floor[round]; ok && base != 0 {
			all = append(all, values[round]/base)
		}
	}
	return all
}
