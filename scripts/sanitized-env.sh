# Sourced: `sanitized FOLDER COMMAND...` runs a command on the extension that build-sanitized.sh has put into FOLDER.
# The sanitizers' libraries must be there before anything else is: GCC's, or what SANITIZERS names.
sanitized() {
  local folder=$1 gcc
  gcc="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
  shift
  PYTHONPATH=$PWD/$folder/site PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:${ASAN_OPTIONS-} \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    LD_PRELOAD="${SANITIZERS-$gcc} $(gcc -print-file-name=libstdc++.so)" "$@"
}
