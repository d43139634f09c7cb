package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// report prints the tables of all results in a folder and draws their plots.
func report(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "fleet-*.json"))
	if err != nil {
		return err
	}
	var all []results
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r results
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b results) int { return a.Canaries - b.Canaries })
	for _, r := range all {
		r.table()
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := cost(all, filepath.Join(to, "fleet-memory.png"), "Memory of the operator", "MiB", func(r row) float64 { return float64(r.Most) / (1 << 20) }); err != nil {
		return err
	}
	if err := cost(all, filepath.Join(to, "fleet-cpu.png"), "CPU of the operator a release", "milliseconds", func(r row) float64 {
		return 1000 * r.CPU / float64(max(r.Canaries, 1))
	}); err != nil {
		return err
	}
	return latencies(all, filepath.Join(to, "fleet-latency.png"))
}

// table prints the rows of a run as they stand in docs/performance.md.
func (r results) table() {
	fmt.Printf("\n%d Canaries, %d other Deployments, interval %s, %s, %s\n\n", r.Canaries, r.Others, r.Interval, r.Machine, r.Began.Format(time.DateOnly))
	fmt.Println("| stage | Canaries | s | CPU s | CPU ms a Canary | MiB, most | requests | a Canary | queries | API server CPU s | machine busy | begins p50, p99 | rollback p50, p99 | judged again p50, most |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, x := range r.Rows {
		n := float64(max(x.Canaries, 1))
		perCanary, requests := fmt.Sprintf("%.1f", 1000*x.CPU/n), fmt.Sprintf("%.1f", float64(total(x.Requests))/n)
		if x.Canaries == 0 {
			perCanary, requests = "", ""
		}
		fmt.Printf("| %s | %d | %.0f | %.2f | %s | %d, %d | %d | %s | %d | %.1f | %.0f %% | %s | %s | %s |\n", x.Stage, x.Canaries, x.Seconds, x.CPU, perCanary,
			x.Resident>>20, x.Most>>20, total(x.Requests), requests, x.Queries, x.APIServer, 100*x.Busy,
			pair(x.Begins, 0.5, 0.99), pair(x.Rollbacks, 0.5, 0.99), pair(x.Again, 0.5, 1))
	}
}

func pair(all []time.Duration, a, b float64) string {
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f s, %.2f s", quantile(all, a).Seconds(), quantile(all, b).Seconds())
}

// colours tell the lines of a plot apart.
var colours = []color.Color{
	color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 255}, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 255},
	color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 255}, color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 255},
}

// cost draws what stages cost against the size of the fleet.
func cost(all []results, file, title, unit string, of func(row) float64) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "Canaries", unit
	p.Y.Min = 0
	for i, stage := range []string{"start", "idle", "all", "restart"} {
		var points plotter.XYs
		for _, r := range all {
			for _, x := range r.Rows {
				if x.Stage == stage && (x.Canaries > 0 || unit == "MiB") {
					points = append(points, plotter.XY{X: float64(r.Canaries), Y: of(x)})
				}
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color = colours[i], colours[i]
		p.Add(line, dots)
		p.Legend.Add(stage, line)
	}
	p.Legend.Top, p.Legend.Left = true, true
	return p.Save(14*vg.Centimeter, 9*vg.Centimeter, file)
}

// latencies draws what share of the releases of the largest fleet was under way after how long.
func latencies(all []results, file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "From the change of an image to its release", "seconds", "share of releases"
	drawn := 0
	for _, r := range all {
		for _, x := range r.Rows {
			if x.Stage != "all" || len(x.Begins) == 0 {
				continue
			}
			sorted := slices.Sorted(slices.Values(x.Begins))
			points := make(plotter.XYs, len(sorted))
			for i, d := range sorted {
				points[i] = plotter.XY{X: d.Seconds(), Y: float64(i+1) / float64(len(sorted))}
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return err
			}
			line.Color = colours[drawn%len(colours)]
			drawn++
			p.Add(line)
			p.Legend.Add(fmt.Sprintf("%d at once", r.Canaries), line)
		}
	}
	return p.Save(14*vg.Centimeter, 9*vg.Centimeter, file)
}
