package plain

// bars are eighths of a line of text.
var bars = []rune("▁▂▃▄▅▆▇█")

// Spark draws numbers as one line of bars, the largest of them as high as the line, and nothing as a dot: ··▁▃█.
func Spark(values []int64) string {
	var top int64
	for _, v := range values {
		top = max(top, v)
	}
	line := make([]rune, len(values))
	for i, v := range values {
		if v <= 0 {
			line[i] = '·'
			continue
		}
		line[i] = bars[min(int(float64(v)/float64(top)*float64(len(bars))), len(bars)-1)]
	}
	return string(line)
}
