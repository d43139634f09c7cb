// Command judgement draws the plots of docs/judgement.md from what make judgement has simulated.
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

func main() {
	results := flag.String("results", "../../bin/judgement", "folder with releases.csv and samples.csv")
	out := flag.String("out", "../../docs/judgement", "folder of the plots")
	flag.Parse()
	if err := run(*results, *out); err != nil {
		fmt.Fprintln(os.Stderr, "judgement:", err)
		os.Exit(1)
	}
}

func run(results, out string) error {
	releases, err := read(filepath.Join(results, "releases.csv"))
	if err != nil {
		return err
	}
	samples, err := read(filepath.Join(results, "samples.csv"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := hurt(releases, filepath.Join(out, "hurt.png")); err != nil {
		return err
	}
	if err := wrong(releases, filepath.Join(out, "false-rollbacks.png")); err != nil {
		return err
	}
	return sampled(samples, filepath.Join(out, "samples.png"))
}

// row is one line of a table: its fields by the names of the columns.
type row map[string]string

func (r row) number(field string) float64 {
	x, err := strconv.ParseFloat(r[field], 64)
	if err != nil {
		return math.NaN()
	}
	return x
}

func read(path string) ([]row, error) {
	file, err := os.Open(path) //nolint:gosec // the user has named it
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil || len(lines) < 2 {
		return nil, fmt.Errorf("%s: %d lines: %w", path, len(lines), err)
	}
	var out []row
	for _, line := range lines[1:] {
		r := row{}
		for i, field := range line {
			r[lines[0][i]] = field
		}
		out = append(out, r)
	}
	return out, nil
}

// rules are those that are drawn, with the colours that tell them apart.
var rules = []struct {
	name   string
	colour color.Color
}{
	{"flagger 99 %", color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 255}},
	{"flagger base + 1", color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 255}},
	{"rollouts base + 1", color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 255}},
	{"kayenta", color.RGBA{R: 0x8c, G: 0x56, B: 0x4b, A: 255}},
	{"comparison", color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 255}},
	{"comparison, steps early", color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 255}},
}

// hurt draws how many requests a canary that is a point worse hurts in the hour from its release's begin, by traffic, on
// average over the base rates.
func hurt(all []row, file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "Requests hurt in an hour by a canary 1 point worse", "requests a second", "requests"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	for _, rule := range rules {
		sum, n := map[float64]float64{}, map[float64]float64{}
		for _, r := range all {
			if r["rule"] == rule.name && r.number("worse") == 0.01 && r.number("correlation") == 0 && r.number("outage") == 0 && r.number("from") == 0 {
				at := r.number("requests")
				sum[at], n[at] = sum[at]+r.number("hurt"), n[at]+1
			}
		}
		var points plotter.XYs
		for at := range sum {
			points = append(points, plotter.XY{X: at, Y: sum[at] / n[at]})
		}
		if err := add(p, rule.name, rule.colour, points); err != nil {
			return err
		}
	}
	return p.Save(15*vg.Centimeter, 10*vg.Centimeter, file)
}

// wrong draws how many good releases each rule rolls back, cell by cell, the worst first.
func wrong(all []row, file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "Good releases rolled back, by cell", "cells (traffic, base rate, correlation, outage), the worst first", "percent"
	p.Y.Min, p.Y.Max, p.Legend.Top = 0, 100, true
	for _, rule := range rules {
		var shares []float64
		for _, r := range all {
			if r["rule"] == rule.name && r.number("worse") == 0 {
				shares = append(shares, 100*r.number("rolledBack"))
			}
		}
		slices.Sort(shares)
		slices.Reverse(shares)
		var points plotter.XYs
		for i, share := range shares {
			points = append(points, plotter.XY{X: float64(i + 1), Y: share})
		}
		if err := add(p, rule.name, rule.colour, points); err != nil {
			return err
		}
	}
	return p.Save(15*vg.Centimeter, 10*vg.Centimeter, file)
}

// sampled draws how many requests of the canary a rollback needs, by the side of Wald's test.
func sampled(all []row, file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "Requests of the canary until a rollback", "Wald's test, which knows both shares", "requests"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	var known, misled plotter.XYs
	least, most := math.Inf(1), 0.0
	for _, r := range all {
		at := plotter.XY{X: r.number("wald"), Y: r.number("own")}
		least, most = math.Min(least, at.X), math.Max(most, at.X)
		if r.number("history") < 100 || r.number("off") != 1 {
			misled = append(misled, at)
		} else {
			known = append(known, at)
		}
	}
	for _, set := range []struct {
		name   string
		colour color.Color
		points plotter.XYs
	}{{"comparison", rules[4].colour, known}, {"comparison, next to no history or a wrong one", rules[1].colour, misled}} {
		dots, err := plotter.NewScatter(set.points)
		if err != nil {
			return err
		}
		dots.Color = set.colour
		p.Add(dots)
		p.Legend.Add(set.name, dots)
	}
	for _, times := range []float64{1, 1.5} {
		line, err := plotter.NewLine(plotter.XYs{{X: least, Y: times * least}, {X: most, Y: times * most}})
		if err != nil {
			return err
		}
		if times > 1 {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("%g times Wald's", times), line)
	}
	return p.Save(15*vg.Centimeter, 10*vg.Centimeter, file)
}

// add draws a line through points in the order of their x.
func add(p *plot.Plot, name string, colour color.Color, points plotter.XYs) error {
	if len(points) == 0 {
		return nil
	}
	slices.SortFunc(points, func(a, b plotter.XY) int {
		switch {
		case a.X < b.X:
			return -1
		case a.X > b.X:
			return 1
		default:
			return 0
		}
	})
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, dots.Color = colour, colour
	p.Add(line, dots)
	p.Legend.Add(name, line)
	return nil
}
