package main

import "github.com/alecthomas/kong"

// setPlaceholders gives flags that take a path the placeholder FILE or DIR in
// help texts, where kong would show STRING.
func setPlaceholders(app *kong.Application) {
	_ = kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok && f.PlaceHolder == "" && (f.Tag.Type == "path" || f.Tag.Has("predictor")) {
			f.PlaceHolder = "FILE"
			if f.Name == "data" {
				f.PlaceHolder = "DIR"
			}
		}
		return next(nil)
	})
}
