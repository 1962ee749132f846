module muniment.dev/muniment/deploy/release/tools

go 1.26.0

tool github.com/u-root/u-root/cmds/core/cat

require github.com/u-root/u-root v0.16.0 // indirect
