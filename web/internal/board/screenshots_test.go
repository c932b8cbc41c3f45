package board_test

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// docs is where the screenshots are kept.
const docs = "../../../docs"

// TestScreenshots writes the screenshots in docs anew; make screenshots does so, and WM_SCREENSHOTS may name another directory. Without that it takes one, to see
// that it can.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	r.layHour()
	r.scene()
	b := r.open(desktop)
	to := os.Getenv("WM_SCREENSHOTS")
	if to == "" {
		b.visit("/")
		if picture := b.picture(desktop, page.CaptureScreenshotFormatWebp); len(picture) < 10_000 {
			t.Errorf("the screenshot has %d bytes only", len(picture))
		}
		return
	}
	format := page.CaptureScreenshotFormatWebp
	if to != docs { // to be looked at by whoever changes a page: all pages, and a format that any viewer knows
		format = page.CaptureScreenshotFormatPng
	}
	all := r.pages()
	all["queue"] = "/queues/mail?state=delayed"
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, s := range []screen{desktop, phone, {1440, 900, true, false}, {390, 844, true, false}} {
			r.layHour() // up to the present minute
			b.look(s)
			b.visit(all[name])
			if slices.Contains([]string{"overview", "queue", "dead", "run"}, name) || to != docs {
				file := filepath.Join(to, "screenshots", fmt.Sprintf("%s-%d-%s.%s", name, s.wide, s.scheme(), format))
				write(t, file, b.picture(s, format))
			}
			if name == "overview" && s.wide > 600 || name == "dead" && s == phone {
				write(t, filepath.Join(to, fmt.Sprintf("dashboard-%s-%d-%s.png", name, s.wide, s.scheme())), fewColours(t, b.picture(s, page.CaptureScreenshotFormatPng)))
			}
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	const most = 200_000
	if len(data) > most && filepath.Ext(path) == ".webp" {
		t.Errorf("%s has %d bytes, more than %d", path, len(data), most)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:gosec // documentation
		t.Fatal(err)
	}
}

func (s screen) scheme() string {
	if s.dark {
		return "dark"
	}
	return "light"
}

// mostHigh is where a screenshot of a long page is cut, in screens.
const mostHigh = 2.4

// picture is the whole page; on a phone the bar at the bottom is at its bottom. It is taken when the page is live.
func (b *tab) picture(s screen, format page.CaptureScreenshotFormat) []byte {
	b.t.Helper()
	redistest.Eventually(b.t, longer, func() bool {
		return eval[bool](b, `!document.body.dataset.live || document.getElementById("live-text").textContent !== "Live" || !document.getElementById("live-state").hidden`)
	}, "the page is live")
	high := min(eval[int64](b, "Math.ceil(document.documentElement.scrollHeight)"), int64(float64(s.high)*mostHigh))
	beyond, quality := true, int64(82)
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: s.wide, Height: max(high, s.high), DeviceScaleFactor: 1, Mobile: s.wide < 600,
	})
	params := page.CaptureScreenshotParams{
		Format: format, CaptureBeyondViewport: &beyond, Clip: &page.Viewport{Width: float64(s.wide), Height: float64(max(high, s.high)), Scale: 1},
	}
	if format == page.CaptureScreenshotFormatWebp {
		params.Quality = &quality
	}
	return call(b, page.CaptureScreenshot, params).Data
}

// fewColours makes a PNG small: the 256 colours that there is most of, and for others the nearest of these.
func fewColours(t *testing.T, data []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[color.RGBA]int{}
	bounds := from.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(from.At(x, y)).(color.RGBA) }
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			counts[at(x, y)]++
		}
	}
	palette := color.Palette{}
	for _, c := range slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return cmp.Compare(counts[b], counts[a]) }) {
		if len(palette) < 256 {
			palette = append(palette, c)
		}
	}
	to, nearest := image.NewPaletted(bounds, palette), map[color.RGBA]uint8{}
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := at(x, y)
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c)) //nolint:gosec // there are 256
				nearest[c] = i
			}
			to.SetColorIndex(x, y, i)
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
