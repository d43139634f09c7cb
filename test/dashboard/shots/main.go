// Command shots takes pictures of a dashboard.
//
//	go run ./shots -url http://127.0.0.1:8091 -out ../../docs/images
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
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
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := take(ctx, *url, *out, *only); err != nil {
		log.Fatal(err)
	}
}

func shots() []shot {
	return []shot{
		{name: "fleet", path: "#/", width: 1360, height: 820},
		{name: "fleet-dark", path: "#/?show=person", width: 1360, height: 820, dark: true},
		{name: "fleet-phone", path: "#/", width: 390, height: 800},
		{name: "release", path: "#/releases/shop/cart", width: 1360, height: 900, full: true},
		{name: "release-dark", path: "#/releases/payments/checkout", width: 1360, height: 900, dark: true},
		{name: "release-phone", path: "#/releases/shop/cart", width: 390, height: 844, dark: true, full: true},
		{name: "gate", path: "#/releases/identity/ledger", width: 1360, height: 900},
	}
}

func take(ctx context.Context, url, out, only string) error {
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
	for _, s := range shots() {
		if only != "" && s.name != only {
			continue
		}
		picture, err := one(ctx, url, s)
		if err != nil {
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
		chromedp.Navigate(url+"/"+s.path),
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
