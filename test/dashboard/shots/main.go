// Command shots takes pictures of a dashboard.
//
//	go run ./serve -canaries 60 &
//	go run ./shots -url http://127.0.0.1:8091 -out ../../docs/images
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/sluice-delivery/sluice/test/dashboard/browser"
)

// shot is a picture.
type shot struct {
	name, path    string
	width, height int64
	dark          bool
	full          bool
}

func main() {
	url := flag.String("url", "http://127.0.0.1:8091", "the dashboard")
	out := flag.String("out", ".", "folder of the pictures")
	only := flag.String("only", "", "take this one alone")
	path := flag.String("path", "", "take one of this page, such as #/releases/test/podinfo, in place of those")
	width := flag.Int64("width", 1360, "width of it")
	dark := flag.Bool("dark", false, "whether it is dark")
	flag.Parse()
	all := shots()
	if *path != "" {
		all = []shot{{name: "page", path: *path, width: *width, height: 900, full: true, dark: *dark}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := take(ctx, all, *url, *out, *only); err != nil {
		log.Fatal(err)
	}
}

func shots() []shot {
	return []shot{
		{name: "dashboard-fleet", path: "#/", width: 1280, height: 760},
		{name: "dashboard-release", path: "#/releases/search/thumbnails-2", width: 1280, height: 860},
		{name: "dashboard-rolled-back", path: "#/releases/payments/checkout", width: 1280, height: 860, dark: true},
		{name: "dashboard-phone", path: "#/releases/search/thumbnails-2", width: 390, height: 844, dark: true},
	}
}

func take(ctx context.Context, all []shot, url, out, only string) error {
	ctx, stop, err := browser.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			fmt.Fprintln(os.Stderr, "console:", m)
		}
	}()
	for _, s := range all {
		if only != "" && s.name != only {
			continue
		}
		picture, err := one(ctx, url, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if picture, err = browser.Small(picture); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := os.WriteFile(filepath.Join(out, s.name+".png"), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// one takes one picture.
func one(ctx context.Context, url string, s shot) ([]byte, error) {
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		return nil, err
	}
	err := chromedp.Do(ctx,
		chromedp.EmulateViewport(s.width, s.height),
		chromedp.Navigate("about:blank"),
		chromedp.Navigate(strings.TrimSuffix(url, "/")+"/"+s.path),
		chromedp.WaitVisible(chromedp.CSS("main .list, main .columns")),
		// What moves comes to where it is to be.
		chromedp.Sleep(1200*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	if s.full {
		return chromedp.Run(ctx, chromedp.FullScreenshot(100))
	}
	return chromedp.Run(ctx, chromedp.CaptureScreenshot())
}
