# rsidiff_torch: LibTorch out of the pinned PyPI wheel.
#
# Not find_package(Torch): the CUDA wheel's package file demands nvcc, which building the worker does
# not need. The wheel's headers carry an old protobuf and fmt, so they come after everything else
# (-idirafter), or they would shadow Debian's.
file(GLOB torch_folders "${RSIDIFF_TORCH}/lib/python3*/site-packages/torch")
list(LENGTH torch_folders torch_count)
if(NOT torch_count EQUAL 1)
  message(FATAL_ERROR "No torch in RSIDIFF_TORCH=${RSIDIFF_TORCH}: run deploy/install_deps.sh, name an environment "
                      "that holds torch 2.11.0, or configure with -DRSIDIFF_WORKER=OFF")
endif()
set(torch_folder "${torch_folders}")
file(STRINGS "${torch_folder}/version.py" torch_version REGEX "^__version__ =")
if(NOT torch_version MATCHES "2\\.11\\.0")
  message(FATAL_ERROR "${torch_folder} is not torch 2.11.0: ${torch_version}")
endif()
get_filename_component(site_packages "${torch_folder}" DIRECTORY)

add_library(rsidiff_torch INTERFACE)
target_compile_options(rsidiff_torch INTERFACE
  "SHELL:-idirafter ${torch_folder}/include"
  "SHELL:-idirafter ${torch_folder}/include/torch/csrc/api/include"
  "SHELL:-idirafter ${site_packages}/nvidia/cu13/include"
  "SHELL:-idirafter ${site_packages}/nvidia/nccl/include"
  "SHELL:-idirafter ${site_packages}/nvidia/cudnn/include")
file(GLOB torch_cuda_library "${torch_folder}/lib/libtorch_cuda.so")
target_compile_definitions(rsidiff_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
target_link_directories(rsidiff_torch INTERFACE "${torch_folder}/lib")
# The C++ library first: libtorch.so exports copies of std::filesystem functions of another build, which crash
# (remove_all calls through a null pointer) when a binary binds to them.
target_link_libraries(rsidiff_torch INTERFACE stdc++ c10)
if(torch_cuda_library)
  # Nothing of ours names a symbol of libtorch_cuda in every binary, yet it has to be loaded for CUDA to register.
  target_compile_definitions(rsidiff_torch INTERFACE USE_CUDA USE_C10D_NCCL)
  target_link_libraries(rsidiff_torch INTERFACE
    -Wl,--no-as-needed torch torch_cpu torch_cuda c10_cuda -Wl,--as-needed)
else()
  target_link_libraries(rsidiff_torch INTERFACE -Wl,--no-as-needed torch torch_cpu -Wl,--as-needed)
endif()
set(RSIDIFF_TORCH_LIBRARIES "${torch_folder}/lib" PARENT_SCOPE)
