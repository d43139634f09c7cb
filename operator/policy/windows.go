package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
)

// longest is how many days ahead a window is looked for: each comes once a week at least.
const longest = 14

var weekdays = map[v1alpha1.Weekday]time.Weekday{
	"Mon": time.Monday, "Tue": time.Tuesday, "Wed": time.Wednesday, "Thu": time.Thursday,
	"Fri": time.Friday, "Sat": time.Saturday, "Sun": time.Sunday,
}

// moment is a time of a day, of which there may be 24:00.
type moment struct{ hour, minute int }

func parseMoment(s string) (m moment, ok bool) {
	hours, minutes, found := strings.Cut(s, ":")
	var errs [2]error
	m.hour, errs[0] = strconv.Atoi(hours)
	m.minute, errs[1] = strconv.Atoi(minutes)
	inDay := m.hour >= 0 && m.hour < 24 && m.minute >= 0 && m.minute < 60 || m == moment{24, 0}
	return m, found && errs == [2]error{} && inDay
}

func (m moment) before(other moment) bool {
	return m.hour < other.hour || m.hour == other.hour && m.minute < other.minute
}

// on is the moment of the day that so many days follow another, by the clocks of its place: hours are longer or shorter
// by what summer time adds or takes.
func (m moment) on(day time.Time, after int) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day()+after, m.hour, m.minute, 0, 0, day.Location())
}

// window is a time of the week.
type window struct {
	days     []time.Weekday // none: every day
	from, to moment
}

func (w *window) begins(day time.Weekday) bool {
	return len(w.days) == 0 || slices.Contains(w.days, day)
}

// span is the window that begins so many days after a day, false where none does.
func (w *window) span(day time.Time, after int) (from, to time.Time, ok bool) {
	from = w.from.on(day, after)
	noon := time.Date(day.Year(), day.Month(), day.Day()+after, 12, 0, 0, 0, day.Location())
	if !w.begins(noon.Weekday()) {
		return time.Time{}, time.Time{}, false
	}
	if w.to.before(w.from) {
		after++
	}
	to = w.to.on(day, after)
	return from, to, from.Before(to)
}

// openAt tells whether a window is open, and until when.
func openAt(windows []window, now time.Time) (until time.Time, open bool) {
	for i := range windows {
		for after := -1; after <= 0; after++ {
			from, to, ok := windows[i].span(now, after)
			if ok && !now.Before(from) && now.Before(to) && to.After(until) {
				until, open = to, true
			}
		}
	}
	return until, open
}

// nextAfter is when the next window begins.
func nextAfter(windows []window, now time.Time) (next time.Time) {
	for i := range windows {
		for after := range longest + 1 {
			from, _, ok := windows[i].span(now, after)
			if !ok || !from.After(now) {
				continue
			}
			if next.IsZero() || from.Before(next) {
				next = from
			}
			break
		}
	}
	return next
}
