// The command monitoring writes the Grafana dashboards of this folder. Its
// tests run the dashboards' expressions and the alerts in a real Prometheus.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := "deploy/monitoring/grafana"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := write(dir); err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

// write writes each dashboard to a file in the folder.
func write(dir string) error {
	for name, b := range boards {
		text, err := encode(b)
		if err != nil {
			return fmt.Errorf("dashboard %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// encode returns a dashboard in Grafana's classic JSON model.
func encode(b *board) ([]byte, error) {
	d, err := b.build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
