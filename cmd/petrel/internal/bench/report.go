package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Metric is one number of a result.
type Metric struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit,omitempty"`
	Value float64 `json:"value"`
}

// Result is one scenario, run once against one server. Faults are losses, repeats, reorderings,
// refusals and failures; a result with any is not a measurement.
type Result struct {
	Scenario string   `json:"scenario"`
	Peer     string   `json:"peer"`
	Repeat   int      `json:"repeat"`
	Metrics  []Metric `json:"metrics"`
	Faults   []string `json:"faults,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

func (r *Result) add(name, unit string, v float64) {
	r.Metrics = append(r.Metrics, Metric{name, unit, v})
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// latency adds the percentiles of a histogram of nanoseconds, in ms.
func (r *Result) latency(to string, h *histogram) {
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}} {
		r.add(to+" "+q.name, "ms", float64(h.quantile(q.q))/1e6)
	}
}

func (r Result) value(name string) (float64, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m.Value, true
		}
	}
	return 0, false
}

// line is what is printed as soon as a result is there.
func (r Result) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s %-10s #%d", r.Scenario, r.Peer, r.Repeat)
	for _, m := range r.Metrics {
		fmt.Fprintf(&b, "  %s %s", m.Name, number(m.Value))
		if m.Unit != "" {
			b.WriteString(" " + m.Unit)
		}
	}
	for _, f := range r.Faults {
		b.WriteString("\n  FAULT: " + f)
	}
	for _, n := range r.Notes {
		b.WriteString("\n  note: " + n)
	}
	return b.String()
}

// number prints three significant digits, thousands whole.
func number(v float64) string {
	switch a := max(v, -v); {
	case a >= 100 || a == 0:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// report collects the results of a run.
type report struct {
	FsyncMS float64  `json:"fsync_ms"`
	CPUs    int      `json:"cpus"`
	Results []Result `json:"results"`
	names   []string
}

func (r *report) add(res Result) { r.Results = append(r.Results, res) }

// median over the repeats without faults.
func (r *report) median(scenario, peer, metric string) (float64, bool) {
	var vs []float64
	for _, res := range r.Results {
		if v, ok := res.value(metric); ok && res.Scenario == scenario && res.Peer == peer && len(res.Faults) == 0 {
			vs = append(vs, v)
		}
	}
	if len(vs) == 0 {
		return 0, false
	}
	slices.Sort(vs)
	if n := len(vs); n%2 == 0 {
		return (vs[n/2-1] + vs[n/2]) / 2, true
	}
	return vs[len(vs)/2], true
}

// rows are the metrics of a scenario in the order of the result that has most of them.
func (r *report) rows(scenario string) []Metric {
	var out []Metric
	for _, res := range r.Results {
		if res.Scenario != scenario {
			continue
		}
		for _, m := range res.Metrics {
			if !slices.ContainsFunc(out, func(o Metric) bool { return o.Name == m.Name }) {
				out = append(out, m)
			}
		}
	}
	return out
}

// write prints the markdown table: medians, the first peer's ratio to each other one, and the goal.
func (r *report) write(w io.Writer) {
	first := r.names[0]
	fmt.Fprintf(w, "\n| scenario | metric |")
	for _, n := range r.names {
		fmt.Fprintf(w, " %s |", n)
	}
	for _, n := range r.names[1:] {
		fmt.Fprintf(w, " %s ÷ %s |", first, n)
	}
	fmt.Fprintf(w, " goal |\n|---|---|%s---|\n", strings.Repeat("--:|", 2*len(r.names)-1))
	var seen []string
	for _, res := range r.Results {
		if slices.Contains(seen, res.Scenario) {
			continue
		}
		seen = append(seen, res.Scenario)
		for _, m := range r.rows(res.Scenario) {
			r.row(w, res.Scenario, m)
		}
	}
	for _, res := range r.Results {
		for _, f := range res.Faults {
			fmt.Fprintf(w, "\n**FAULT** %s, %s #%d: %s\n", res.Scenario, res.Peer, res.Repeat, f)
		}
	}
}

func (r *report) row(w io.Writer, scenario string, m Metric) {
	name := m.Name
	if m.Unit != "" {
		name += ", " + m.Unit
	}
	fmt.Fprintf(w, "| %s | %s |", scenario, name)
	base, ok := r.median(scenario, r.names[0], m.Name)
	for i, n := range r.names {
		v, has := r.median(scenario, n, m.Name)
		switch {
		case !has:
			fmt.Fprint(w, " – |")
		case i == 0 && len(r.names) > 1:
			fmt.Fprintf(w, " **%s** |", number(v))
		default:
			fmt.Fprintf(w, " %s |", number(v))
		}
	}
	for _, n := range r.names[1:] {
		if v, has := r.median(scenario, n, m.Name); has && ok && v != 0 {
			fmt.Fprintf(w, " %s |", number(base/v))
		} else {
			fmt.Fprint(w, " – |")
		}
	}
	fmt.Fprintf(w, " %s |\n", r.verdict(scenario, m.Name))
}

// verdict compares petrel's median with the goal, if there is one.
func (r *report) verdict(scenario, metric string) string {
	g, ok := goalOf(scenario, metric)
	if !ok {
		return ""
	}
	sign := "≥"
	if g.most {
		sign = "≤"
	}
	text := sign + " " + number(g.value)
	v, measured := r.median(scenario, "petrel", metric)
	switch {
	case !measured:
		return text
	case g.most && v <= g.value || !g.most && v >= g.value:
		return text + " reached"
	}
	return text + " **missed**"
}

// save writes all results as JSON.
func (r *report) save(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// failure is nil if no result has a fault.
func (r *report) failure() error {
	var errs []error
	for _, res := range r.Results {
		for _, f := range res.Faults {
			errs = append(errs, fmt.Errorf("%s, %s #%d: %s", res.Scenario, res.Peer, res.Repeat, f))
		}
	}
	return errors.Join(errs...)
}
