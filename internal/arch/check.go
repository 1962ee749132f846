package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Check returns the violations of the table: packages in no room, imports that
// their room does not allow, and references to restricted functions.
func Check(rooms []Room, packages []Package) []string {
	var faults []string
	for _, p := range packages {
		room := roomOf(rooms, p.Folder)
		if room == nil {
			faults = append(faults, fmt.Sprintf("%s is in no room: add a row to internal/arch/rooms.go", p.Folder))
			continue
		}
		for _, to := range p.Imports {
			if !allows(rooms, *room, to, slices.Concat(everyone, room.Imports)) {
				faults = append(faults, fmt.Sprintf("%s imports %s: room %s may import only %s", p.Folder, to, room.Folder, list(room.Imports)))
			}
		}
		for _, to := range p.Tests {
			if !allows(rooms, *room, to, slices.Concat(everyone, forTests, room.Imports, room.Tests)) {
				faults = append(faults, fmt.Sprintf("a test of %s imports %s: tests of room %s may import only %s",
					p.Folder, to, room.Folder, list(slices.Concat(room.Imports, room.Tests, forTests))))
			}
		}
		faults = append(faults, restricted(p)...)
	}
	return faults
}

// restricted returns the violations of Restrictions by a package.
func restricted(p Package) []string {
	var faults []string
	for _, r := range Restrictions {
		n, most := p.References[r.Package+"."+r.Func], r.Callers[p.Folder]
		if n > most {
			faults = append(faults, fmt.Sprintf("%s refers %d times to %s.%s, where %d are allowed: %s", p.Folder, n, r.Package, r.Func, most, r.Instead))
		}
	}
	return faults
}

// Unused returns the rows that no package is in, although they are not marked
// as coming, and items that name no room.
func Unused(rooms []Room, packages []Package) []string {
	var faults []string
	used := map[string]bool{}
	for _, p := range packages {
		if room := roomOf(rooms, p.Folder); room != nil {
			used[room.Folder] = true
		}
	}
	for _, room := range rooms {
		if !used[room.Folder] && !room.Coming {
			faults = append(faults, fmt.Sprintf("room %s has no package: delete its row, or mark it as coming", room.Folder))
		}
		for _, item := range slices.Concat(room.Imports, room.Tests) {
			inRoom := slices.ContainsFunc(rooms, func(r Room) bool { return within(r.Folder, item) })
			isPackage := slices.ContainsFunc(packages, func(p Package) bool { return within(p.Folder, item) })
			if !inRoom && !isPackage {
				faults = append(faults, fmt.Sprintf("room %s may import %s, which does not exist", room.Folder, item))
			}
		}
	}
	return faults
}

// StrayFolders returns the violations by folders at the root of the repository
// that contain no room and are not listed.
func StrayFolders(rooms []Room, folders []string) []string {
	var faults []string
	for _, f := range folders {
		hasRoom := slices.ContainsFunc(rooms, func(r Room) bool { return within(r.Folder, f) })
		if !hasRoom && !slices.Contains(otherFolders, f) && !strings.HasPrefix(f, ".") {
			faults = append(faults, fmt.Sprintf("folder %s is not part of the structure: move it into a room, or list it in internal/arch/rooms.go", f))
		}
	}
	return faults
}

// allows reports whether the items permit a package of room from to import the
// folder to.
func allows(rooms []Room, from Room, to string, items []string) bool {
	target := roomOf(rooms, to)
	if target == nil {
		return false
	}
	if target.Folder == from.Folder {
		return true
	}
	return slices.ContainsFunc(items, func(item string) bool {
		covered := within(to, item)
		for _, r := range rooms {
			if r.ByName && r.Folder != item && within(r.Folder, item) && within(to, r.Folder) {
				covered = false
			}
		}
		return covered
	})
}

// roomOf returns the room with the longest folder that contains the package, or
// nil.
func roomOf(rooms []Room, folder string) *Room {
	var best *Room
	for i, r := range rooms {
		if within(folder, r.Folder) && (best == nil || len(r.Folder) > len(best.Folder)) {
			best = &rooms[i]
		}
	}
	return best
}

// within reports whether a folder is the other one or below it.
func within(folder, other string) bool {
	return folder == other || strings.HasPrefix(folder, other+"/")
}

func list(items []string) string {
	if len(items) == 0 {
		return "its own packages"
	}
	return strings.Join(items, ", ")
}

// check returns the violations by the import paths that the room links.
func (w Weight) check(deps []string) []string {
	var faults []string
	for _, dep := range deps {
		begins := func(prefix string) bool { return strings.HasPrefix(dep, prefix) }
		if slices.ContainsFunc(w.Never, begins) && !slices.ContainsFunc(w.But, begins) {
			faults = append(faults, fmt.Sprintf("%s links %s", w.Room, dep))
		}
	}
	return faults
}
